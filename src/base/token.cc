#include "base/token.h"

#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <cstdint>
#include <string_view>

namespace sockmi {

Result<Token> Token::make() {
  unique_fd fd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return fail_errno("eventfd");
  return Token(std::move(fd));
}

// The kernel's name of it: a file's begins with a slash. Whatever else is read could make its reader wait.
Result<Token> Token::adopt(unique_fd fd) {
  char name[PATH_MAX];
  const ssize_t size = ::readlink(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), name, sizeof name);
  if (size < 0) return fail_errno("a descriptor's name");
  if (std::string_view(name, static_cast<std::size_t>(size)) != "anon_inode:[eventfd]") return fail(EBADF, "the descriptor of a token is no eventfd");
  return Token(std::move(fd));
}

bool Token::take() {
  if (ours_) return true;
  std::uint64_t count = 0;
  iovec into{&count, sizeof count};
  ssize_t got;
  // Whether a read waits is the other's to set as well, so this call says that it must not.
  do got = ::preadv2(fd_.get(), &into, 1, -1, RWF_NOWAIT);
  while (got < 0 && errno == EINTR);
  return ours_ = got == sizeof count;
}

bool Token::is_lost() const {
  pollfd free{fd_.get(), POLLIN, 0};
  return !ours_ && ::poll(&free, 1, 0) == 0;
}

}  // namespace sockmi
