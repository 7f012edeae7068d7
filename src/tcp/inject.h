// Puts a segment into this host's own TCP, as if the peer had sent it: for what repair mode can not restore (a FIN, an acknowledgement of ours)
// and for bytes that must join segments which wait out of order. And the other way, where no socket is left that could speak.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::tcp {

struct Segment {
  FourTuple tuple;  // local: the receiver, us
  std::uint32_t seq = 0, ack = 0;
  std::uint16_t window = 0;  // as on the wire, scaled down
  bool fin = false;
  ByteView data;  // at most kLargestSegment
};

// Of the 32 KiB that it takes, as much goes to overhead as of a small segment (overhead.h). So it is of a half, a quarter, and an eighth of it.
inline constexpr std::size_t kLargestSegment = 20'000, kLeastMeasured = kLargestSegment / 8;

// Of the peer's own segments, the next one is measured, or none (overhead.h).
enum class Next { IsMeasured, IsAsSample };

// `mark`: SO_MARK of the raw socket; steer's rules route packets with it to this host's own sockets, whatever their address, past the freeze.
// Nothing leaves the host, rule or not. The segment may be processed only after the return: what it should bring about has to be waited for.
// Wants CAP_NET_RAW.
Result<> inject(const Segment& segment, std::uint32_t mark);
// Sends it to the peer: `tuple` as the peer has it.
Result<> speak(const Segment& segment);
// As inject(), for data of any size, in as many segments as it takes; a FIN goes with the last one.
Result<> inject_data(Segment segment, std::uint32_t mark, Next next);

}  // namespace sockmi::tcp
