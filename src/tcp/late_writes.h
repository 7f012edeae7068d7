// Adds to a live socket what was done to the one that it comes from while it thawed.
#pragma once

#include "base/error.h"
#include "tcp/freeze_delta.h"

namespace sockmi::tcp {

// Bytes written, and the end of our stream, go behind what is in the socket; what was read is read. Nobody else may have written to it yet.
Result<> add_rest(int fd, const FreezeDelta& rest);

}  // namespace sockmi::tcp
