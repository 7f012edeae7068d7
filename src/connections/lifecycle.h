// Endpoints that live here: they come, end, and go on. Their rules end when they end.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

// Whether `from` may bring it here. EBUSY: it went on from here, and home does not know yet: what we have told home of that could reach it after the
// word that it is here again. Or we are its home, and know that another host has it.
Result<> may_come(const World& world, const std::string& from, const FourTuple& tuple);

// An endpoint goes from here or came back here, or just lives here from now on. The first two in this order: went() when it is decided (`away`:
// none if it goes home), has_left() when its socket here is gone too.
void went(World& world, std::uint64_t cookie, const FourTuple& tuple, const std::optional<RemoteConnection>& away);
void has_left(World& world, const FourTuple& tuple, const std::string& home, const SocketAddress& home_line);
void came_back(World& world, const FourTuple& tuple);
void lives_here(World& world, std::uint64_t cookie, ImportedConnection resident);
void is_home(World& world, std::uint64_t cookie);  // of a resident: the address that it has is ours now

// Whether the socket of this cookie has this connection. `alive`: of all_sockets(). That may pass over one while others begin and end, so who is not in it is
// asked for by name.
bool lives(const World& world, const std::map<std::uint64_t, net::TcpSocket>& alive, std::uint64_t cookie, const FourTuple& tuple);

// Notices the end of residents, for as long as the daemon runs.
asio::awaitable<void> watch_ends(World& world);
// Notices, likewise, those that have ended though an application still has their socket.
asio::awaitable<void> watch_closed(World& world);

// Lets what has ended, or is about to, come to its end, within a second: for a daemon that stops.
asio::awaitable<void> shut_down(World& world);
// Whether connections that live on without the daemon need its rules in its own network namespace.
bool rules_are_needed(const World& world);

}  // namespace sockmi::daemon
