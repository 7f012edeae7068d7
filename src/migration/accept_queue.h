// Connections that wait at a listener to be accepted, when it moves.
#pragma once

#include "migration/export_state.h"

namespace sockmi::daemon {

// They go to `target`, too, each as a move of its own; who can not go waits here for an application. Afterwards no connection begins at the listener. An error:
// somebody could not go, or the queue could not be emptied.
asio::awaitable<Result<>> move_waiting(World& world, ExportedEndpoint& listener, IpAddress target);

}  // namespace sockmi::daemon
