// How much of a receive buffer goes to overhead: the kernel takes it from the first segment of a size (tcp_measure_rcv_mss(), since Linux 6.6), and promises
// the peer a window accordingly. A promise that is too wide costs segments: where the buffer can not grow any more, what finds no room is dropped, and
// the peer repeats all that was under way.
//
// A restored socket would measure the peer's first segment after the move. In the midst of an upload that may be one of 64 KB, which virtual interfaces and
// GRO make: next to nothing of it is overhead, and of the smaller ones that follow much more is. A connection that was not moved has measured one
// of its first segments, mostly a small one. So the importer gives its socket a segment of its own before the first byte (the sample): with the
// overhead of a small one, and as long as the peer's, so that none of those is measured.
#pragma once

#include <cstddef>

#include "wire/tcp_generated.h"
#include "tcp/inject.h"

namespace sockmi::tcp {

// 0: none is wanted. The peer has sent little so far; or its segments have more overhead than ours (a driver that gives a page to each), and have to
// be measured; or they are too long.
std::size_t sample_size(const wire::TcpT& image);
inline Next next_after(const wire::TcpT& image) { return sample_size(image) > 0 ? Next::IsAsSample : Next::IsMeasured; }

}  // namespace sockmi::tcp
