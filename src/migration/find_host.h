// Finds the host to which endpoints move.
#pragma once

#include <vector>

#include "cluster/cluster.h"
#include "context/services.h"
#include "migration/export_state.h"

namespace sockmi::daemon {

// Finds a host that accepts `count` endpoints like `those`, and that reserves places for
// them. `id`: that of the first of all.
asio::awaitable<Result<cluster::SelectedHost>> find_host(const Services& services,
                                                         std::vector<ExportedEndpoint*> those,
                                                         wire::MigrationId id, std::size_t count,
                                                         IpAddress target);

// Asks the importer whether the endpoints could live there, and sets `result`. The query
// fills packets as large as the peer's. Afterwards the kernel knows the MTU of the path
// to the importer.
asio::awaitable<void> try_paths(const Services& services, cluster::SelectedHost importer,
                                std::vector<ExportedEndpoint*> those);

}  // namespace sockmi::daemon
