// A window that is too large is a burst into somebody's queue, and images are hostile until checked. Three bounds:
//
// - The peer's own window. More than twice of the largest that it ever opened says nothing about the path: a receiver that tunes its buffer
//   doubles it once a round trip, not faster. That one comes from the image too, so the second bound is a number.
// - 64 MiB of flight: 1 Gbit/s around half the world, twice. Nothing that a daemon accepts makes one connection send more at once.
// - Silence. A kernel halves the window for each retransmission timeout in which nothing was sent (RFC 2861), but only when the next data is
//   sent, and by a clock that a restored socket begins anew; so the time before the move is counted here. What is in flight is no silence.
//
// Down, nothing is bounded: a connection that congestion had brought to one segment has that one here too.
#include "congestion/cwnd_limits.h"

#include <algorithm>

namespace sockmi::congestion {
namespace {

constexpr std::uint32_t kInitial = 10;            // RFC 6928: what any connection may begin with
constexpr std::uint32_t kMaxFlight = 64u << 20;   // bytes
constexpr std::uint32_t kMinTimeout = 200'000;    // us; Linux's least retransmission timeout
constexpr std::uint32_t kMinPacedRtt = 1000;      // us; below, a burst lasts no longer than a timer is late
constexpr std::uint32_t kLargestSsthresh = 0x7fffffff;  // "not known yet"

std::uint32_t after_silence(std::uint32_t cwnd, const wire::TcpT& image) {
  const std::uint64_t timeout = std::max<std::uint64_t>(std::uint64_t(image.srtt_us) + 4ull * image.rttvar_us, kMinTimeout);
  for (std::uint64_t silent = 1000ull * image.idle_ms; silent > timeout && cwnd > kInitial; silent -= timeout) cwnd = std::max(cwnd / 2, kInitial);
  return cwnd;
}

}  // namespace

Window admissible(const wire::TcpT& image) {
  if (image.snd_cwnd == 0 || image.mss == 0 || !image.window) return {0, 0};
  const std::uint64_t peer = std::max(image.window->max_window(), image.window->snd_wnd());
  const auto most = std::max(std::uint32_t(std::min<std::uint64_t>(2 * peer, kMaxFlight) / image.mss), kInitial);
  const bool in_flight = image.send_queue.size() > image.unsent;
  const std::uint32_t cwnd = std::min(image.snd_cwnd, most);
  return {in_flight ? cwnd : after_silence(cwnd, image), std::clamp(image.snd_ssthresh, 2u, kLargestSsthresh)};
}

bool is_fresh(const Window& window) { return window.cwnd == kInitial && window.ssthresh == kLargestSsthresh; }

std::uint64_t pacing_rate(const Window& window, const wire::TcpT& image) {
  if (window.cwnd <= kInitial || image.srtt_us < kMinPacedRtt) return 0;
  return std::uint64_t(window.cwnd) * image.mss * 1'200'000 / image.srtt_us;  // the 1.2 is the kernel's own, see tcp_pacing_ca_ratio
}

}  // namespace sockmi::congestion
