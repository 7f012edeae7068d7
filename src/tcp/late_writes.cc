#include "tcp/late_writes.h"

#include <sys/socket.h>

#include "tcp/queues.h"
#include "tcp/send_buffer.h"

namespace sockmi::tcp {
namespace {

constexpr std::size_t kLargest = 1 << 30;

// This socket's send buffer may be as full as the exporter's was, so it is enlarged as
// needed.
Result<> write_all(int fd, ByteView bytes) {
  SendBuffer buffer(fd);
  for (std::size_t room = 2 * bytes.size(); !bytes.empty();) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno != EAGAIN) return fail_errno("cannot write a late write");
    if (room > kLargest || !buffer.resize(buffer.owners() + room))
      return fail(ENOBUFS, "cannot fit {} bytes into the send buffer", bytes.size());
    room *= 2;
  }
  return {};
}

}  // namespace

Result<> apply_late_writes(int fd, const FreezeDelta& delta) {
  TRY(write_all(fd, delta.written));
  if (delta.finished && ::shutdown(fd, SHUT_WR) != 0)
    return fail_errno("cannot shut down the socket");
  return skip_received(fd, delta.read);
}

}  // namespace sockmi::tcp
