// Ensures that only one process per network namespace changes our tables.
#pragma once

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::steer {

// Locks this thread's network namespace until the descriptor is closed or its holder
// exits. Errors: EADDRINUSE if another process holds the lock; the message names that
// process.
Result<unique_fd> claim_namespace();

}  // namespace sockmi::steer
