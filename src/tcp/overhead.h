// Controls how the kernel estimates the memory overhead of a receive buffer. The kernel
// takes the estimate from the first segment of a size (tcp_measure_rcv_mss(), since Linux
// 6.6), and announces a window to the peer accordingly. A window that is too wide costs
// segments: if the buffer cannot grow any more, a segment that does not fit is dropped,
// and the peer repeats everything in flight.
//
// A restored socket would measure the peer's first segment after the migration. In the
// middle of an upload that may be a segment of 64 KB, as virtual interfaces and GRO make
// them: almost none of it is overhead, while the smaller segments that follow have much
// more. A connection that has not moved has measured one of its first segments, usually a
// small one.
//
// So the importer gives its socket a segment of its own before the first byte (the
// sample). It has the overhead of a small segment and the length of the peer's segments,
// so that none of those is measured.
#pragma once

#include <cstddef>

#include "tcp/inject.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

// Returns the size of the sample; 0 if none is needed: the peer has sent little so far;
// or its segments have more overhead than ours (a driver that uses a page for each) and
// must be measured; or they are too long.
std::size_t sample_size(const wire::TcpT& image);
inline Next next_after(const wire::TcpT& image) {
  return sample_size(image) > 0 ? Next::IsAsSample : Next::IsMeasured;
}

}  // namespace sockmi::tcp
