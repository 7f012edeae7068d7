// The exporter's half of a migration, from the descriptors that arrived to the endpoints that are gone.
#pragma once

#include <vector>

#include "base/token.h"
#include "base/unique_fd.h"
#include "context/world.h"

namespace sockmi::daemon {

// An endpoint that is to go: `endpoint` comes with service, owner, state, TLS image and payload; the rest is filled in here.
struct ExportItem {
  unique_fd socket;
  wire::Endpoint endpoint;
  int asker = -1;  // borrowed for the time of the export: the local connection of whoever asked, if anybody did; see CrashGuard::hold()
  std::shared_ptr<Token> token = {};  // whoever asked may take it, and so give up the export, until something of it is decided
};

// Moves endpoints of one service and owner to `target` (any(): whoever will), together: one search, one message each way, one netlink
// transaction for all, or for each share of them (shares.h). Each goes or stays by itself: the results are in the order of the departures, and whoever
// has an error goes on here as if nothing had happened. `timeout` bounds the time until the decision; 0: only the configured ones do.
asio::awaitable<std::vector<Result<>>> export_endpoints(World& world, std::vector<ExportItem> departures, IpAddress target, milliseconds timeout = {});
asio::awaitable<Result<>> export_endpoint(World& world, ExportItem departure, IpAddress target, milliseconds timeout = {});

}  // namespace sockmi::daemon
