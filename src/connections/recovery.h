// A daemon that starts takes over what an earlier one left: connections went on without it.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

// From the journal and the kernel. What neither explains is removed.
Result<> adopt(World& world);

}  // namespace sockmi::daemon
