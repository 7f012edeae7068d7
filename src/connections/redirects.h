// Redirects endpoints, especially those without a peer: bound and listening sockets. Of
// these, everything for their address and port is redirected, except the packets of
// connections that continue to live where they are.
#pragma once

#include "base/unique_fd.h"
#include "connections/table.h"
#include "context/services.h"

namespace sockmi::daemon {

// Blocks new connections, lets handshakes in progress complete, and empties the accept
// queue. `accepted` receives the accepted connections, also in case of an error. The port
// stays blocked until release().
asio::awaitable<Result<>> empty_accept_queue(const Services& services, int listener,
                                             SocketAddress local, std::vector<unique_fd>& accepted);
void release(const Services& services, const SocketAddress& local);

// Redirects everything for `local` to `host`, except connections that have their own
// redirect, and those that live here. Errors: EHOSTUNREACH if `host` is not known here;
// EAFNOSUPPORT if it has no address of the family.
Result<> redirect_passive(const Services& services, const ConnectionTable& table,
                          const SocketAddress& local, const std::string& host);
Result<> remove_passive_redirect(const Services& services, const SocketAddress& local);
// Redirects an endpoint, with or without a peer, to where it lives: permanently, or for
// `expires_in`. Without a peer, a redirect with `expires_in` ends immediately.
Result<> redirect(const Services& services, const ConnectionTable& table, const FourTuple& tuple,
                  const RemoteConnection& away, std::optional<milliseconds> expires_in);

// Retry until the redirects are installed, or removed, although the kernel refuses at the
// moment. They give up when the connection moves again.
asio::awaitable<void> retry_redirects(const Services& services, const ConnectionTable& table,
                                      std::vector<steer::Redirect> redirects);
asio::awaitable<void> retry_removal(const Services& services, const ConnectionTable& table,
                                    std::vector<FourTuple> tuples);
// The same for an endpoint without a peer. Returns after the first attempt; a task makes
// the others.
void stop_redirecting(const Services& services, const ConnectionTable& table,
                      const FourTuple& tuple);

}  // namespace sockmi::daemon
