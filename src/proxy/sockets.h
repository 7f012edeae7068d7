// Opens the sockets of listeners and of connections to backends. No socket blocks.
#pragma once

#include "base/unique_fd.h"
#include "proxy/stream_address.h"

namespace sockmi::proxy {

// Opens a listening socket. A Unix socket that an earlier process has left is replaced.
Result<unique_fd> open_listener(const StreamAddress& address, bool v6only, int backlog);

// Accepts a connection. Errors: EAGAIN if there is none; others as accept(2).
Result<unique_fd> accept_from(int listener);

// Begins to connect; the socket is writable when that has ended.
Result<unique_fd> begin_connect(const StreamAddress& address);
// Returns the error with which connecting has ended, if any.
Result<> finish_connect(int fd, const StreamAddress& address);

// The addresses of a connection; unspecified for a Unix socket.
SocketAddress local_address(int fd);
SocketAddress peer_address(int fd);

}  // namespace sockmi::proxy
