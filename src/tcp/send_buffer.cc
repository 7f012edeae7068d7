#include "tcp/send_buffer.h"

#include <sys/socket.h>

#include <algorithm>
#include <climits>

#include "tcp/socket_options.h"

namespace sockmi::tcp {

SendBuffer::SendBuffer(int fd)
    : fd_(fd),
      size_(get<int>(fd, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF").value_or(0)),
      lock_(get<int>(fd, SOL_SOCKET, SO_BUF_LOCK, "SO_BUF_LOCK").value_or(-1)) {}

SendBuffer::~SendBuffer() {
  if (!touched_) return;
  (void)resize(owners());
  (void)set(fd_, SOL_SOCKET, SO_BUF_LOCK, lock_, "SO_BUF_LOCK");
}

bool SendBuffer::resize(std::size_t bytes) {
  if (lock_ < 0 || size_ <= 0) return false;
  touched_ = true;
  // The kernel doubles the value.
  const int half = static_cast<int>(std::clamp<std::size_t>(bytes / 2, 1, INT_MAX / 2));
  if (!set(fd_, SOL_SOCKET, SO_SNDBUFFORCE, half, "SO_SNDBUFFORCE"))
    (void)set(fd_, SOL_SOCKET, SO_SNDBUF, half, "SO_SNDBUF");
  const auto now = get<int>(fd_, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF");
  return now && (bytes < owners() || static_cast<std::size_t>(*now) + 1 >= bytes);
}

}  // namespace sockmi::tcp
