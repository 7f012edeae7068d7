// Takes over, when the daemon starts, what an earlier one left: connections continued
// without it.
#pragma once

#include "connections/connections.h"

namespace sockmi::daemon {

// Restores the records from the journal and the kernel. Rules that neither explains are
// removed.
Result<> adopt(Connections& connections);

}  // namespace sockmi::daemon
