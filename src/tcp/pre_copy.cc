// Until the freeze the owner may read, so these bytes need not be the ones in front of
// the frozen queue; and sequence numbers can be read only in repair mode. But the kernel
// counts what has been received in order (tcpi_bytes_received; the peer's FIN counts),
// and reports how much of it is unread (SIOCINQ). So both ends of the queue have a
// position that means the same before the freeze and in it, and what was read in the
// meantime is known.
//
// SIOCINQ stops counting at an urgent byte, wherever the queue ends. A socket that has
// one is not read. The check is made before and after.
#include "tcp/pre_copy.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include "tcp/queues.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

Result<PreCopyRange> unread(int fd) {
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(before, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    if (!is_synchronized(before.tcpi_state))
      return fail(ENOTCONN, "connection has ended, or not begun");
    TRY_LET(size, queued(fd, SIOCINQ, "SIOCINQ"));
    TRY_LET(after, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    if (before.tcpi_bytes_received != after.tcpi_bytes_received ||
        before.tcpi_state != after.tcpi_state)
      continue;
    const std::uint64_t end = after.tcpi_bytes_received - peer_has_finished(after.tcpi_state);
    return PreCopyRange{end - size, end};
  }
  return fail(EAGAIN, "socket keeps changing; try again");
}

Result<> can_be_peeked(int fd) {
  TRY_LET(urgent, has_urgent(fd));
  if (urgent) return fail(ENOTSUP, "cannot move urgent data, which waits in the receive queue");
  if (get<int>(fd, SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF").value_or(-1) >= 0)
    return fail(ENOTSUP, "SO_PEEK_OFF is set");
  return {};
}

}  // namespace

std::uint32_t PreCopyRange::keep(std::uint64_t begin, std::uint64_t end) {
  if (begin < from || begin > to || to > end) {
    from = to;
  } else {
    from = begin;
  }
  return size();
}

Result<Bytes> read_for_pre_copy(int fd, PreCopyRange& known, std::size_t least) {
  TRY_LET(size, queued(fd, SIOCINQ, "SIOCINQ"));
  if (size < least) return Bytes();
  TRY(can_be_peeked(fd));
  TRY_LET(queue, unread(fd));
  if (known.size() == 0) known = {queue.from, queue.from};
  if (queue.from > known.to) return fail(EAGAIN, "application already read the pre-copied data");
  if (queue.to - known.to < least) return Bytes();
  TRY_LET(bytes, peek_received(fd, queue.size()));
  TRY_LET(now, unread(fd));
  TRY(can_be_peeked(fd));
  if (now.from != queue.from) return fail(EAGAIN, "another thread reads; try again");
  bytes.erase(bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(queue.to - known.to));
  known.to = queue.to;
  return bytes;
}

}  // namespace sockmi::tcp
