// Endpoints without a peer: bound and listening sockets. Not their packets are steered, but all that come for their address and port, except those
// of connections that live on where they are.
#pragma once

#include "base/unique_fd.h"
#include "context/world.h"

namespace sockmi::daemon {

bool is_passive(std::uint8_t state);      // SOCKMI_BOUND, SOCKMI_LISTENING
bool is_passive(const FourTuple& tuple);  // the same, told from the missing peer

// No new connection begins, those that have begun get through, and the accept queue is emptied: into `accepted`, which holds what was accepted also
// on an error. The port is held until release().
asio::awaitable<Result<>> empty_accept_queue(World& world, int listener, SocketAddress local, std::vector<unique_fd>& accepted);
void release(World& world, const SocketAddress& local);

// All that comes for `local` goes to `host`, but for connections that have their own redirect, and those that live here.
Result<> redirect_passive(World& world, const SocketAddress& local, const std::string& host);
Result<> remove_passive_redirect(World& world, const SocketAddress& local);
// What has no peer, or has one, is led to where it lives: for good, or for some time. That of a passive one ends at once then.
Result<> redirect(World& world, const FourTuple& tuple, const RemoteConnection& away, std::optional<milliseconds> expires_in);

// Connections that an application here accepted from a listener whose home is elsewhere: packets reach them only as long as the listener is here.
// Before it goes, or ends, home is told of each, and we look after them as after any that moved here.
asio::awaitable<void> adopt_accepted(World& world, SocketAddress local, ImportedConnection listener);

}  // namespace sockmi::daemon
