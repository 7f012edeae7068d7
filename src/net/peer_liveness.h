// Reads whether a socket's peer is alive, from the kernel's counters of its segments.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

struct Liveness {
  std::uint32_t answers = 0;         // segments without data received by the socket
  std::uint32_t unacknowledged = 0;  // segments of ours
  std::uint64_t acknowledged = 0;    // bytes of ours, since the socket was created
};
// Returns the counters of the connection's socket with this cookie. Errors: ENOENT if it
// has ended.
Result<Liveness> liveness_of(const FourTuple& tuple, std::uint64_t cookie);

}  // namespace sockmi::net
