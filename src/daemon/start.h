// Takes over, when the daemon starts, what an earlier daemon of this host left besides
// its rules: frozen sockets, and migrations without an outcome.
#pragma once

#include "migration/exports.h"
#include "migration/importer.h"

namespace sockmi::daemon {

// Call it after adopt() of connections/recovery.h, which takes over records and rules,
// and before the first request of another host is answered. The control channel must
// exist when the event loop runs next, because what is in doubt is asked for from then
// on.
Result<> adopt_sockets(Exports& exports, Importer& importer);

}  // namespace sockmi::daemon
