// Injects a segment into this host's own TCP, as if the peer had sent it: for what repair
// mode cannot restore (a FIN, an acknowledgement of our data), and for bytes that must
// join segments waiting out of order. Also sends a segment to the peer where no socket is
// left that could send it.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::tcp {

struct Segment {
  FourTuple tuple;  // local: the receiver, this host
  std::uint32_t seq = 0, ack = 0;
  std::uint16_t window = 0;  // as on the wire, scaled down
  bool fin = false;
  ByteView data;  // at most kLargestSegment
};

// A segment of this size uses 32 KiB, of which the same share is overhead as of a small
// segment (overhead.h). The same holds for a half, a quarter and an eighth of it.
inline constexpr std::size_t kLargestSegment = 20'000, kLeastMeasured = kLargestSegment / 8;

// Whether the kernel shall measure the peer's own next segment, or none of them
// (overhead.h).
enum class Next { IsMeasured, IsAsSample };

// Injects a segment. `mark`: SO_MARK of the raw socket. The rules of steer route packets
// with this mark to this host's own sockets, whatever their address, and past the freeze.
// Nothing leaves the host, with or without the rules. The segment may be processed only
// after the return, so the caller must wait for its effect. Requires CAP_NET_RAW.
Result<> inject(const Segment& segment, std::uint32_t mark);
// Sends a segment to the peer. `tuple` is from the peer's point of view.
Result<> send_to_peer(const Segment& segment);
// Like inject(), for data of any size, in as many segments as needed. A FIN goes with the
// last one.
Result<> inject_data(Segment segment, std::uint32_t mark, Next next);

}  // namespace sockmi::tcp
