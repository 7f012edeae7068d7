// Adds late writes to a thawed socket: what other threads did to the exporter's socket in
// the meantime.
#pragma once

#include "base/error.h"
#include "tcp/freeze_delta.h"

namespace sockmi::tcp {

// Appends the written bytes, and the end of our stream, to what is in the socket, and
// skips what was read. No other thread may have written to the socket yet.
Result<> apply_late_writes(int fd, const FreezeDelta& delta);

}  // namespace sockmi::tcp
