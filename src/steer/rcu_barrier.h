// Waits for packets that may still be on their way to a socket. See rcu_barrier.cc.
#pragma once

#include "base/error.h"

namespace sockmi::steer {

// Blocks until all packets that had passed our hooks before the call have been processed
// (membarrier). After it, no straggler can reach a socket, or be answered because there
// is no socket. Takes microseconds if the kernel lets us expedite it, otherwise 7-15 ms.
// Call it off the event loop and outside the freeze.
Result<> barrier();
// Returns "expedited" or "plain". The first call also resets the switch that a killed
// process may have left set.
const char* barrier_form();

}  // namespace sockmi::steer
