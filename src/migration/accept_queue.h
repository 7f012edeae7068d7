// Moves the connections in the accept queue of a listener that moves.
#pragma once

#include <functional>
#include <vector>

#include "migration/export_state.h"
#include "migration/exports.h"

namespace sockmi::daemon {

// Exports endpoints to a host, see export_endpoints().
using ExportMore = std::function<asio::awaitable<std::vector<Result<>>>(std::vector<ExportItem>,
                                                                        IpAddress target)>;

// Exports the connections in the accept queue to `target`, each with a migration of its
// own. A connection that cannot move is put into the import queue here and waits for an
// application. Afterwards no new connection begins at the listener. Returns an error if a
// connection could not move, or if the queue could not be emptied.
asio::awaitable<Result<>> move_accept_queue(Exports& exports, ExportedEndpoint& listener,
                                            IpAddress target, const ExportMore& export_more);

}  // namespace sockmi::daemon
