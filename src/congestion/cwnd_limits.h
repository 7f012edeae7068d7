// What of a connection's congestion window goes over to the restored one.
#pragma once

#include <cstdint>

#include "wire/tcp_generated.h"

namespace sockmi::congestion {

struct Window {
  std::uint32_t cwnd, ssthresh;  // in segments; laid out as carrier.bpf.c's struct window

  bool operator==(const Window&) const = default;
};

// The image's, within bounds that hold whoever made it. A window of 0: the image says nothing.
Window admissible(const wire::TcpT& image);

// A connection that begins has it anyway.
bool is_fresh(const Window& window);

// Bytes a second at which a burst of `window` spreads over a round trip, and not more than the bottleneck's queue has to hold; 0: no need to.
std::uint64_t pacing_rate(const Window& window, const wire::TcpT& image);

}  // namespace sockmi::congestion
