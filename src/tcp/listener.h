// Captures and restores sockets without a connection: bound and listening ones.
#pragma once

#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

// Captures a socket in state kListen or kClose (bound). It is not frozen: steering
// decides which SYNs arrive here, and drain_accept_queue() takes the connections that
// have arrived.
Result<wire::TcpT> capture_passive(int fd);

// Creates a bound socket, and makes it listen if the image's did. `transparent`: the
// address is not one of this host's. Existing connections with the same address and port
// do not prevent binding. They prevent listening (EADDRINUSE) if they lack SO_REUSEADDR,
// so a listener moves before its connections.
Result<unique_fd> restore_passive(const wire::TcpT& image, bool transparent);

// Accepts the connections in the accept queue. Handshakes in progress are not among them.
Result<std::vector<unique_fd>> drain_accept_queue(int fd);

}  // namespace sockmi::tcp
