// Sockets that wait for connections, or for their owner to make one: listening and bound.
#pragma once

#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

// State kListen or kClose (bound). Nothing is frozen: steering decides whose SYNs come here, and drain_accept_queue() takes what has come.
Result<wire::TcpT> capture_passive(int fd);

// Bound, and listening if it was. `transparent`: the address is not this host's. That there are connections of the same address and port is no
// hindrance to binding; to listening it is one (EADDRINUSE) if they lack SO_REUSEADDR, so a listener goes before its connections.
Result<unique_fd> restore_passive(const wire::TcpT& image, bool transparent);

// The connections that wait to be accepted. Handshakes under way are not among them.
Result<std::vector<unique_fd>> drain_accept_queue(int fd);

}  // namespace sockmi::tcp
