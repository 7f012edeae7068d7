// Tracks the endpoints that live here: they arrive, end, and leave. Their rules end with
// them.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

// An endpoint whose departure was decided is gone, and so is its socket here.
void finish_export(World& world, const FourTuple& tuple, const std::string& home,
                   const SocketAddress& home_control);
// An endpoint lives here from now on. Its rules have been added.
void add_imported(World& world, std::uint64_t cookie, const ImportedConnection& resident);
// An imported connection is at home from now on: its address has become ours.
void rehome(World& world, std::uint64_t cookie);

// True if the kernel has answered that no such socket exists. Another error of find_socket()
// (EMFILE, for example) says nothing about the socket, and must not end its connection.
inline bool is_absent(const Error& error) {
  return error.code == ENOENT;
}

// False if the socket with this cookie does not have this connection any more. `alive`: the
// result of all_sockets(). That list may miss a socket while others are created and destroyed,
// so a socket that is not in it is looked up by addresses and ports.
bool lives(const World& world, const std::map<std::uint64_t, net::TcpSocket>& alive,
           std::uint64_t cookie, const FourTuple& tuple);

// Notices when imported connections end, as long as the daemon runs.
asio::awaitable<void> watch_ends(World& world);
// Notices connections that have ended although an application still has their socket, as
// long as the daemon runs.
asio::awaitable<void> watch_closed(World& world);

// For a daemon that stops: lets connections that have ended, or are about to end, do so
// completely, within a second.
asio::awaitable<void> shut_down(World& world);
// True if connections that continue without the daemon need its rules in its own network
// namespace.
bool rules_are_needed(const World& world);

}  // namespace sockmi::daemon
