// The exporter's half of a migration: from the received descriptors to the destruction of
// the old sockets.
#pragma once

#include <vector>

#include "base/token.h"
#include "base/unique_fd.h"
#include "context/world.h"

namespace sockmi::daemon {

// An endpoint to export. In `endpoint`, the caller fills in service, owner, state, TLS
// image and payload; the exporter fills in the rest.
struct ExportItem {
  unique_fd socket;
  wire::Endpoint endpoint;
  // The local API connection of the process that asked for the export, -1 if there is
  // none. Borrowed for the duration of the export; see CrashGuard::hold().
  int asker = -1;
  // The process that asked may take the token and so give up the export, until the first
  // of its endpoints is decided.
  std::shared_ptr<Token> token = {};
};

// Moves endpoints of one service and one owner to `target` (any(): any host that
// accepts). They move as one batch (one search for a host, one message each way, one
// netlink transaction), or as several parts one after the other (batching.h).
//
// Each endpoint succeeds or fails alone. The results are in the order of `departures`. An
// endpoint with an error continues on this host as if nothing had happened, except with
// these errors: EINPROGRESS if the importer has not yet said what became of it (the
// socket stays frozen until it has), ECONNABORTED if the importer lost it after its thaw.
// `timeout` bounds the time until the decision; 0: only the configured timeouts apply.
asio::awaitable<std::vector<Result<>>> export_endpoints(World& world,
                                                        std::vector<ExportItem> departures,
                                                        IpAddress target,
                                                        milliseconds timeout = {});
asio::awaitable<Result<>> export_endpoint(World& world, ExportItem departure, IpAddress target,
                                          milliseconds timeout = {});

}  // namespace sockmi::daemon
