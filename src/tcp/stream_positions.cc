#include "tcp/stream_positions.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include "tcp/queues.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {}  // namespace

bool has_received_fin(int state) {
  return peer_has_finished(state) || state == kClose;
}
bool has_sent_fin(int state) {
  return we_have_finished(state) || state == kClose;
}

Result<Place> Place::of(int fd) {
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(before, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    TRY_LET(unread, queued(fd, SIOCINQ, "SIOCINQ"));
    TRY_LET(outstanding, queued(fd, SIOCOUTQ, "SIOCOUTQ"));
    TRY_LET(after, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    const bool steady = before.tcpi_state == after.tcpi_state &&
                        before.tcpi_bytes_received == after.tcpi_bytes_received &&
                        before.tcpi_bytes_acked == after.tcpi_bytes_acked;
    if (!steady) continue;
    const int state = after.tcpi_state;
    const std::uint64_t received = after.tcpi_bytes_received - has_received_fin(state);
    return Place{state, received - unread, received, after.tcpi_bytes_acked,
                 after.tcpi_bytes_acked + outstanding - has_sent_fin(state)};
  }
  return fail(EAGAIN, "socket keeps changing; try again");
}

}  // namespace sockmi::tcp
