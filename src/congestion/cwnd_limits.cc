// Limits the congestion window of an image. A window that is too large makes a burst into
// a queue that others use too, and images are untrusted until checked. There are three
// limits:
//
// - The peer's own window. More than twice the largest window that the peer ever opened
//   says nothing about the path: a receiver that tunes its buffer doubles it once per
//   round trip, not faster. This value comes from the image too, so the second limit is a
//   constant.
// - 64 MiB in flight: 1 Gbit/s around half the world, twice. No image that a daemon
//   accepts makes a connection send more than this in one burst.
// - Idle time. A kernel halves the window for each retransmission timeout in which
//   nothing was sent (RFC 2861). But it does so only when the next data are sent, and its
//   clock starts again on a restored socket. So the idle time before the move is applied
//   here. A connection with data in flight is not idle.
//
// There is no lower limit: a connection that congestion has reduced to one segment has
// one segment here too.
#include "congestion/cwnd_limits.h"

#include <algorithm>

namespace sockmi::congestion {
namespace {

constexpr std::uint32_t kInitial = 10;           // RFC 6928: every connection may begin with this
constexpr std::uint32_t kMaxFlight = 64u << 20;  // bytes
constexpr std::uint32_t kMinTimeout = 200'000;   // us; Linux's minimum retransmission timeout
// us. With a shorter round trip, a burst lasts no longer than the delay of a timer.
constexpr std::uint32_t kMinPacedRtt = 1000;
constexpr std::uint32_t kLargestSsthresh = 0x7fffffff;  // "not known yet"

std::uint32_t after_idle(std::uint32_t cwnd, const wire::TcpT& image) {
  const std::uint64_t timeout =
      std::max<std::uint64_t>(std::uint64_t(image.srtt_us) + 4ull * image.rttvar_us, kMinTimeout);
  for (std::uint64_t idle = 1000ull * image.idle_ms; idle > timeout && cwnd > kInitial;
       idle -= timeout)
    cwnd = std::max(cwnd / 2, kInitial);
  return cwnd;
}

}  // namespace

Window admissible(const wire::TcpT& image) {
  if (image.snd_cwnd == 0 || image.mss == 0 || !image.window) return {0, 0};
  const std::uint64_t peer = std::max(image.window->max_window(), image.window->snd_wnd());
  const auto most =
      std::max(std::uint32_t(std::min<std::uint64_t>(2 * peer, kMaxFlight) / image.mss), kInitial);
  const bool in_flight = image.send_queue.size() > image.unsent;
  const std::uint32_t cwnd = std::min(image.snd_cwnd, most);
  return {in_flight ? cwnd : after_idle(cwnd, image),
          std::clamp(image.snd_ssthresh, 2u, kLargestSsthresh)};
}

bool is_fresh(const Window& window) {
  return window.cwnd == kInitial && window.ssthresh == kLargestSsthresh;
}

std::uint64_t pacing_rate(const Window& window, const wire::TcpT& image) {
  if (window.cwnd <= kInitial || image.srtt_us < kMinPacedRtt) return 0;
  // The factor 1.2 is the kernel's own, see tcp_pacing_ca_ratio.
  return std::uint64_t(window.cwnd) * image.mss * 1'200'000 / image.srtt_us;
}

}  // namespace sockmi::congestion
