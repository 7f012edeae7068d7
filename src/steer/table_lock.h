// Who may touch our tables: one process a network namespace.
#pragma once

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::steer {

// Holds this thread's network namespace until the descriptor is closed, or its holder ends. EADDRINUSE: another process holds it; the error says which.
Result<unique_fd> claim_namespace();

}  // namespace sockmi::steer
