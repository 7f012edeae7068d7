// The exporter's half of a migration: from the received descriptors to the destruction of
// the old sockets.
#pragma once

#include <vector>

#include "migration/accept_queue.h"
#include "migration/export_item.h"
#include "migration/export_state.h"
#include "migration/exports.h"

namespace sockmi::daemon {

// Moves `items` as one batch, see export_endpoints(). Returns their states, with their
// results, in the same order. `export_more`: exports what listeners have accepted.
// `found`: whether a host was found; in: for the batch before this one, out: for this
// one. A search to which no host answered is not repeated.
asio::awaitable<std::vector<ExportedEndpoint>> export_batch(
    Exports& exports, std::vector<ExportItem> items, IpAddress target, Clock::time_point decide_by,
    const ExportMore& export_more, Result<>& found);

}  // namespace sockmi::daemon
