// Hands endpoints over to another process of this host.
//
// Each group has a token (base/token.h). The process that has taken it has the endpoints:
// the other process, or this one again. So the outcome is always known here, whatever the
// daemon says, and also if it says nothing or has ended.
#pragma once

#include "lib/export_batches.h"

namespace sockmi::lib {

// See export_endpoints(). Blocks until each endpoint has been taken or is back. Replaces
// the descriptors of those that were taken by a socket that is dead.
void hand_over_endpoints(const ExportCall& call, const sockmi_export_options& options);

}  // namespace sockmi::lib
