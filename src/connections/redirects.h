// Redirects endpoints, especially those without a peer: bound and listening sockets. Of
// these, everything for their address and port is redirected, except the packets of
// connections that continue to live where they are.
#pragma once

#include "base/unique_fd.h"
#include "context/world.h"

namespace sockmi::daemon {

bool is_passive(std::uint8_t state);      // SOCKMI_BOUND, SOCKMI_LISTENING
bool is_passive(const FourTuple& tuple);  // the same, by the missing peer

// Blocks new connections, lets handshakes in progress complete, and empties the accept
// queue. `accepted` receives the accepted connections, also in case of an error. The port
// stays blocked until release().
asio::awaitable<Result<>> empty_accept_queue(World& world, int listener, SocketAddress local,
                                             std::vector<unique_fd>& accepted);
void release(World& world, const SocketAddress& local);

// Redirects everything for `local` to `host`, except connections that have their own
// redirect, and those that live here. Errors: EHOSTUNREACH if `host` is not known here;
// EAFNOSUPPORT if it has no address of the family.
Result<> redirect_passive(World& world, const SocketAddress& local, const std::string& host);
Result<> remove_passive_redirect(World& world, const SocketAddress& local);
// Redirects an endpoint, with or without a peer, to where it lives: permanently, or for
// `expires_in`. Without a peer, a redirect with `expires_in` ends immediately.
Result<> redirect(World& world, const FourTuple& tuple, const RemoteConnection& away,
                  std::optional<milliseconds> expires_in);

// Registers the connections that an application here has accepted from a listener whose
// home is elsewhere: packets reach them only as long as the listener is here. Before it
// leaves or ends, home is notified of each of them, and they are treated like all
// imported connections.
asio::awaitable<void> adopt_accepted(World& world, SocketAddress local,
                                     ImportedConnection listener);

}  // namespace sockmi::daemon
