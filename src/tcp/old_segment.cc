#include "tcp/old_segment.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "tcp/queues.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

// A socket in another network namespace, or bound to another device, is not reachable.
Result<bool> is_reachable_by_loopback(int fd) {
  char device[IFNAMSIZ] = {};
  socklen_t size = sizeof device;
  if (::getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) == 0 && size > 0) return false;
  const unique_fd here(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const unique_fd its(::ioctl(fd, SIOCGSKNS)), ours(::ioctl(here.get(), SIOCGSKNS));
  struct stat one {
  }, other{};
  if (::fstat(its.get(), &one) != 0 || ::fstat(ours.get(), &other) != 0)
    return fail_errno("cannot open the socket's network namespace");
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

}  // namespace

// The segment carries a byte, because the kernel answers segments without data only twice
// a second, and several exports may fail one after the other. The answer reports a
// duplicate (D-SACK), which the peer ignores, because it has not repeated anything. If
// such a segment finds no socket, the kernel sends an RST to the peer, with `ack` as its
// sequence number. The checks below avoid that; if it happens all the same, the peer does
// not accept that number.
Result<std::optional<Segment>> old_segment(int fd, const Sequences* sequences) {
  static constexpr std::uint8_t kByte[1] = {};
  const auto facts = socket_info(fd);
  // The connection may have ended.
  if (!facts || !is_synchronized(facts->state)) return std::nullopt;
  TRY_LET(reachable, is_reachable_by_loopback(fd));
  if (!reachable) return std::nullopt;
  if (sequences) {
    TRY_LET(place, Place::of(fd));
    return Segment{.tuple = facts->tuple,
                   .seq = sequences->end_of_received(place) - 2,
                   .ack = sequences->acknowledged(place) - 1,
                   .data = kByte};
  }
  TRY(set_repair(fd, TCP_REPAIR_ON));
  TRY_LET(window, get<tcp_repair_window>(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"));
  TRY_LET(snd_seq, queue_sequence(fd, TCP_SEND_QUEUE));
  TRY_LET(outstanding, queued(fd, SIOCOUTQ, "SIOCOUTQ"));
  TRY(select_queue(fd, TCP_NO_QUEUE));
  return Segment{.tuple = facts->tuple,
                 .seq = window.rcv_wup - 2,
                 .ack = snd_seq - outstanding - 1,
                 .data = kByte};
}

// If both FINs arrived while the socket was frozen, what is left of the connection
// belongs to the kernel (TIME_WAIT), and is output-blocked until it ends: the peer would
// repeat its FIN. So this daemon sends the acknowledgement itself.
Result<std::optional<Segment>> last_acknowledgement(int fd, const SocketInfo& before) {
  const bool waited = is_synchronized(before.state) && !peer_has_finished(before.state);
  const auto info = get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO");
  if (!waited || !info || info->tcpi_state != kClose || (poll_now(fd, 0) & POLLERR))
    return std::nullopt;
  TRY(set_repair(fd, TCP_REPAIR_ON));
  TRY_LET(snd_seq, queue_sequence(fd, TCP_SEND_QUEUE));
  TRY_LET(rcv_seq, queue_sequence(fd, TCP_RECV_QUEUE));
  TRY(select_queue(fd, TCP_NO_QUEUE));
  return Segment{
      .tuple = {before.tuple.remote, before.tuple.local}, .seq = snd_seq, .ack = rcv_seq};
}

}  // namespace sockmi::tcp
