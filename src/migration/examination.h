// Checks whether endpoints can move, before anything about them is changed.
#pragma once

#include <vector>

#include "cluster/cluster.h"
#include "connections/table.h"
#include "context/services.h"
#include "migration/export_state.h"

namespace sockmi::daemon {

// Finds out what the exporter needs to know of each endpoint: its tuple, its home, its
// packets. Checks the socket, its state, and its user's right to its address. Sets
// `result`.
void examine(const Services& services, const ConnectionTable& table,
             std::vector<ExportedEndpoint>& all);

}  // namespace sockmi::daemon
