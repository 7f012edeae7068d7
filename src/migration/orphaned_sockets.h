// Handles what a killed daemon left undecided, perhaps because its crash guard was killed
// too: sockets that are still frozen, and decisions whose outcome no importer has
// reported.
#pragma once

#include "migration/exports.h"
#include "migration/frozen_sockets.h"

namespace sockmi::daemon {

// Unfreezes the frozen sockets whose move was not decided. Those whose move was decided,
// and all decisions, are settled by the importer's report, which is requested from now
// on. Unfreezing needs a descriptor of the socket, which is taken from its application
// (CAP_SYS_PTRACE). Where that is not allowed, the socket is in doubt.
void adopt_orphans(Exports& exports, const Sockets& sockets);

}  // namespace sockmi::daemon
