// Computes the congestion window that a restored connection gets from its image, and the
// rate at which it is paced.
#pragma once

#include <cstdint>

#include "wire/tcp_generated.h"

namespace sockmi::congestion {

struct Window {
  std::uint32_t cwnd, ssthresh;  // in segments; the layout of struct window in cwnd_carrier.bpf.c

  bool operator==(const Window&) const = default;
};

// Returns the image's window, reduced to limits that hold for any image, even one from a
// malicious sender. A window of 0: the image has none.
Window admissible(const wire::TcpT& image);

// Returns whether a new connection has this window anyway.
bool is_fresh(const Window& window);

// Returns the rate in bytes per second at which a burst of `window` spreads over one
// round trip, so that the bottleneck's queue does not have to hold more than that. 0:
// pacing is not necessary.
std::uint64_t pacing_rate(const Window& window, const wire::TcpT& image);

}  // namespace sockmi::congestion
