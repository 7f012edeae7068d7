// What the connections need when the daemon stops.
#pragma once

#include "applications/import_queue.h"
#include "connections/connections.h"

namespace sockmi::daemon {

// Lets connections that have ended, or are about to end, do so completely, within a
// second.
asio::awaitable<void> finish_connections(Connections& connections);
// True if connections that continue without the daemon need its rules in its own network
// namespace.
bool rules_are_needed(const Connections& connections, const ImportQueue& import_queue);

}  // namespace sockmi::daemon
