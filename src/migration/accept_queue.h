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

// Exports the connections in the accept queue to `importer`, each with a migration of its
// own. A connection that cannot move is put into the import queue here and waits for an
// application. Afterwards no new connection begins at the listener. If the listener goes
// home, home is then notified of the connections that stay here. Returns an error if a
// connection could not move, if the queue could not be emptied, or if home did not answer
// in time before `decide_by`.
asio::awaitable<Result<>> move_accept_queue(Exports& exports, ExportedEndpoint& listener,
                                            const cluster::SelectedHost& importer,
                                            const ExportMore& export_more,
                                            Clock::time_point decide_by);

}  // namespace sockmi::daemon
