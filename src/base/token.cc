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
  if (!fd) return fail_errno("cannot create an eventfd");
  return Token(std::move(fd));
}

// Checks the name that the kernel gives the descriptor; the name of a file would begin
// with a slash. Reading from any other kind of descriptor might block.
Result<Token> Token::adopt(unique_fd fd) {
  char name[PATH_MAX];
  const ssize_t size =
      ::readlink(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), name, sizeof name);
  if (size < 0) return fail_errno("cannot read the name of a descriptor");
  if (std::string_view(name, static_cast<std::size_t>(size)) != "anon_inode:[eventfd]")
    return fail(EBADF, "invalid token: its descriptor is not an eventfd");
  return Token(std::move(fd));
}

bool Token::take() {
  if (ours_) return true;
  std::uint64_t count = 0;
  iovec into{&count, sizeof count};
  ssize_t got;
  // The other process can change O_NONBLOCK as well, so this call requests not to block.
  do {
    got = ::preadv2(fd_.get(), &into, 1, -1, RWF_NOWAIT);
  } while (got < 0 && errno == EINTR);
  return ours_ = got == sizeof count;
}

bool Token::is_lost() const {
  pollfd free{fd_.get(), POLLIN, 0};
  return !ours_ && ::poll(&free, 1, 0) == 0;
}

}  // namespace sockmi
