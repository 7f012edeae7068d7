// Whether a socket's peer is there: what the kernel counts of its segments.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

struct Liveness {
  std::uint32_t answers = 0;         // segments without data that have found the socket
  std::uint32_t unacknowledged = 0;  // segments of ours
  std::uint64_t acknowledged = 0;    // bytes of ours, since the socket was made
};
// ENOENT: it has ended.
Result<Liveness> liveness_of(const FourTuple& tuple, std::uint64_t cookie);

}  // namespace sockmi::net
