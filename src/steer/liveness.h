// Whether a socket's peer is there: what the kernel counts of its segments.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

struct Liveness {
  std::uint32_t segments_in = 0;     // that have found the socket
  std::uint32_t unacknowledged = 0;  // segments of ours
  std::uint64_t acknowledged = 0;    // bytes, since the socket was made
};
// ENOENT: it has ended.
Result<Liveness> liveness_of(const FourTuple& tuple, std::uint64_t cookie);

}  // namespace sockmi::steer
