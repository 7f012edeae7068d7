#include "tcp/stream_positions.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include "tcp/queues.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

// What the peer has done, of one moment.
struct Arrived {
  int state = 0;
  std::uint64_t received = 0, acknowledged = 0;  // without FINs of the peer
  bool operator==(const Arrived&) const = default;

  static Result<Arrived> at(int fd) {
    TRY_LET(info, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    return Arrived{info.tcpi_state, info.tcpi_bytes_received - has_received_fin(info.tcpi_state),
                   info.tcpi_bytes_acked};
  }
};

// The queues belong to the moment of `before` if nothing has arrived after them.
Result<Place> look_at_queues(int fd, Arrived before) {
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(unread, queued(fd, SIOCINQ, "SIOCINQ"));
    TRY_LET(outstanding, queued(fd, SIOCOUTQ, "SIOCOUTQ"));
    TRY_LET(after, Arrived::at(fd));
    if (before == after) {
      return Place{after.state, after.received - unread, after.received, after.acknowledged,
                   after.acknowledged + outstanding - has_sent_fin(after.state)};
    }
    before = after;
  }
  return fail(EAGAIN, "socket keeps changing; try again");
}

}  // namespace

bool has_received_fin(int state) {
  return peer_has_finished(state) || state == kClose;
}
bool has_sent_fin(int state) {
  return we_have_finished(state) || state == kClose;
}

Result<Place> Place::of(int fd) {
  TRY_LET(before, Arrived::at(fd));
  return look_at_queues(fd, before);
}

Result<Place> Place::of(int fd, const Place& earlier) {
  return look_at_queues(fd, {earlier.state, earlier.received, earlier.acknowledged});
}

}  // namespace sockmi::tcp
