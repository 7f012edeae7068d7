// Notices when endpoints end or have left. Their rules end with them, and their homes are
// notified.
#pragma once

#include "connections/connections.h"

namespace sockmi::daemon {

// An endpoint whose move was decided is gone, and so is its socket here.
void finish_export(Connections& connections, const FourTuple& tuple, const std::string& home,
                   const SocketAddress& home_control);
// Handles the ends that the kernel has reported.
void notice_ends(Connections& connections);
// Notices when imported connections end, as long as the daemon runs.
asio::awaitable<void> watch_ends(Connections& connections);
// Notices connections that have ended although an application still has their socket, as
// long as the daemon runs.
asio::awaitable<void> watch_closed(Connections& connections);

}  // namespace sockmi::daemon
