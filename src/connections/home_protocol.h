// What a home and the hosts that hold its endpoints tell each other, so that the path is short and a rule lives as long as its connection.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

// --- said by a host that holds, or held, an endpoint of another home ---
asio::awaitable<void> notify_moved(World& world, FourTuple tuple);                                      // it went on from here
asio::awaitable<void> notify_ended(World& world, std::uint64_t number, ImportedConnection resident);              // as the journal knows it by its number
// Our address of this family is another one now: where the homes of our guests are to redirect their packets.
asio::awaitable<void> notify_address(World& world, int family);

// --- what others may say to us; `from` is what their certificate says ---
// 1: we had forgotten it. ENOENT: we know nothing of it. EACCES: `from` has no say in it.
Result<int> moved(World& world, const std::string& from, const FourTuple& tuple, const IpAddress& to, const std::string& host, const std::string& service,
                  std::uint64_t generation = 0);
Result<> ended(World& world, const std::string& from, const FourTuple& tuple, std::uint64_t generation = 0);  // the same errors
// 1: it lives here, or it went on from here and its home does not know yet. 0: it does not. (Daemon adds 2: it lives here, and its peer is silent.)
// `routed`: its packets come by a router, with our address.
Result<int> held(World& world, const std::string& from, const FourTuple& tuple, const std::string& service, const SocketAddress& line,
                 std::uint64_t generation = 0, bool routed = false);

// A daemon, or ours, has started: its host and we compare what we know of each other's endpoints.
asio::awaitable<void> reconcile(World& world, std::string host, SocketAddress line);
// Our way to these hosts is another one than before, and redirects lead there already: who holds what we redirect is told how its packets come.
asio::awaitable<void> notify_routes(World& world, std::vector<IpAddress> hosts);
// And without an occasion: asks about one redirect after the other, for as long as the daemon runs.
asio::awaitable<void> ask_in_turn(World& world);
// By its holder's last answer: the peer has not been heard from since it moved there.
bool is_unheard(const World& world, const FourTuple& tuple, const RemoteConnection& away);

}  // namespace sockmi::daemon
