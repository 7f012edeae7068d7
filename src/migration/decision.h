// The decision that endpoints move: the point of no return.
#pragma once

#include <span>

#include "cluster/cluster.h"
#include "connections/table.h"
#include "context/services.h"
#include "migration/export_state.h"

namespace sockmi::daemon {

// Decides that the endpoints of a group move to `importer`, or one endpoint that has no
// group; none of them if one has failed before. Sets `result`. After an error nothing is
// decided, and the sockets can be unfrozen. Errors: ETIMEDOUT after `decide_by`;
// ECANCELED if the application has given up; those of the journal.
void decide(const Services& services, ConnectionTable& table, const cluster::SelectedHost& importer,
            Clock::time_point decide_by, std::span<ExportedEndpoint> group);

}  // namespace sockmi::daemon
