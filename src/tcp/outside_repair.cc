#include "tcp/outside_repair.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "tcp/queues.h"
#include "tcp/send_buffer.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr std::uint32_t kSmallSendQueue = 256 << 10;

struct Windows {
  std::uint32_t send = 0, receive = 0;
  int state = 0;  // of the connection
  static std::optional<Windows> of(int fd);
};

// The windows that both ends have announced. tcpi_rcv_wnd (Linux 6.2), which older
// headers do not have, follows tcpi_snd_wnd.
std::optional<Windows> Windows::of(int fd) {
  constexpr std::size_t kOffset = offsetof(tcp_info, tcpi_snd_wnd);
  std::array<std::uint8_t, 1024> room;
  std::array<std::uint32_t, 2> both;
  socklen_t size = room.size();
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, room.data(), &size) != 0 ||
      size < kOffset + sizeof both)
    return std::nullopt;
  std::memcpy(both.data(), room.data() + kOffset, sizeof both);
  return Windows{both[0], both[1], room[offsetof(tcp_info, tcpi_state)]};
}

// While the window shrinks because nobody reads, the kernel acknowledges late, and the
// window in TCP_INFO is that of its last acknowledgement. An acknowledgement of a frozen
// socket reaches nobody, but after it the window is up to date (except for one segment).
void acknowledge_now(int fd) {
  const auto quick = get<int>(fd, IPPROTO_TCP, TCP_QUICKACK, "TCP_QUICKACK");
  (void)set(fd, IPPROTO_TCP, TCP_QUICKACK, 1, "TCP_QUICKACK");
  if (quick && *quick == 0) (void)set(fd, IPPROTO_TCP, TCP_QUICKACK, 0, "TCP_QUICKACK");
}

}  // namespace

bool can_stay_outside(int fd, bool in_use) {
  const auto outstanding = queued(fd, SIOCOUTQ, "SIOCOUTQ");
  if (!outstanding || *outstanding > (in_use ? kSmallSendQueue : 0)) return false;
  const auto windows = Windows::of(fd);
  return windows && windows->state == kEstablished;
}

Result<std::uint64_t> look_at_sent(int fd) {
  std::optional<SendBuffer> full;  // as in send_queue.cc
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(before, Place::of(fd));
    TRY_LET(unsent, queued(fd, SIOCOUTQNSD, "SIOCOUTQNSD"));
    TRY_LET(after, Place::of(fd, before));
    if (before.state != kEstablished || after.state != kEstablished)
      return fail(EAGAIN, "connection is ending");
    if (before.written == after.written) return after.written - unsent;
    if (!full) (void)full.emplace(fd).resize(1);
  }
  return fail(EAGAIN, "application writes without a pause; try again");
}

void describe(wire::TcpT& image, const tcp_info& info) {
  image.state = info.tcpi_state;
  image.negotiated = info.tcpi_options;
  image.snd_wscale = info.tcpi_snd_wscale;
  image.rcv_wscale = info.tcpi_rcv_wscale;
  image.snd_cwnd = info.tcpi_snd_cwnd;
  image.snd_ssthresh = info.tcpi_snd_ssthresh;
  image.srtt_us = info.tcpi_rtt;
  image.idle_ms = info.tcpi_last_data_sent;
  image.rttvar_us = info.tcpi_rttvar;
  image.rcv_ssthresh = info.tcpi_rcv_ssthresh;
}

Result<std::optional<Place>> capture_outside(int fd, wire::TcpT& image, PreCopyRange* pre_copied,
                                             const Sequences& sequences,
                                             const std::optional<wire::Window>& announced) {
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(info, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    acknowledge_now(fd);
    const auto windows = Windows::of(fd);
    TRY_LET(place, Place::of(fd));
    if (info.tcpi_state != kEstablished || place.state != kEstablished || !windows)
      return std::nullopt;
    if (poll_now(fd, POLLPRI) & POLLPRI)
      return fail(ENOTSUP, "cannot move urgent data, which has arrived");
    auto queue =
        peek_received_behind(fd, pre_copied ? pre_copied->keep(place.read, place.received) : 0,
                             static_cast<std::uint32_t>(place.received - place.read));
    TRY_LET(after, Place::of(fd, place));
    if (after.state != kEstablished || after.read != place.read) continue;
    if (!queue) return std::unexpected(queue.error());
    describe(image, info);
    image.rcv_seq = sequences.end_of_received(place);
    image.snd_seq = sequences.acknowledged(place);
    image.to_come = static_cast<std::uint32_t>(place.written - place.acknowledged);
    image.receive_queue = std::move(*queue);
    image.mss = sequences.mss;
    // If the peer has no acknowledgement of everything that has arrived, it gets one at
    // the thaw, together with the window that this socket would have announced. With a
    // smaller window, a restored socket would open it slowly. With a larger one, the
    // peer's segments would not fit.
    const bool is_acknowledged = announced && announced->rcv_wup() == image.rcv_seq;
    image.window = std::make_unique<wire::Window>(
        announced ? announced->snd_wl1() : image.rcv_seq - 1, windows->send,
        std::max(sequences.max_window, windows->send),
        is_acknowledged ? announced->rcv_wnd() : windows->receive,
        is_acknowledged
            ? image.rcv_seq
            : sequences.received + static_cast<std::uint32_t>(info.tcpi_bytes_received));
    return place;
  }
  return fail(EAGAIN, "socket keeps changing; try again");
}

}  // namespace sockmi::tcp
