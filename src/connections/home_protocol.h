// The protocol between a home and the hosts that hold its endpoints. It keeps the path of
// packets short, and makes a redirect live as long as its connection.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

// --- sent by a host that holds, or held, an endpoint of another home ---

// Notifies home that an endpoint moved on from here. Repeated until home has answered.
asio::awaitable<void> notify_moved(World& world, FourTuple tuple);
// Notifies home that a connection has ended here. `number`: its key in the journal.
asio::awaitable<void> notify_ended(World& world, std::uint64_t number, ImportedConnection resident);
// Notifies the homes of the connections imported here that our address of this family has
// changed, so that they redirect packets to the new one.
asio::awaitable<void> notify_address(World& world, int family);

// --- received from other hosts; `from` is the name in the sender's certificate ---

// Records that the connection lives at `host`, address `to`, now. Returns 1 if it was
// unknown and is redirected again, 0 otherwise. Errors: ENOENT if we have no record of
// it, or it has ended; EACCES if `from` does not hold it, or if its claim to an unknown
// connection is not accepted; ENOBUFS (see check_room()).
Result<int> moved(World& world, const std::string& from, const FourTuple& tuple,
                  const IpAddress& to, const std::string& host, const std::string& service,
                  std::uint64_t generation = 0);
// Removes the redirect of a connection that has ended. Errors: ENOENT if we have no
// record of it; EACCES if `from` neither holds it nor sent it to its holder.
Result<> ended(World& world, const std::string& from, const FourTuple& tuple,
               std::uint64_t generation = 0);
// Answers whether the connection is held here. Returns 1 if it lives here, or if it moved
// on from here and its home has not confirmed that; 0 if not. (Daemon::held() also
// returns 2: it lives here, and its peer has not answered.) `routed`: its packets come
// through a router, with our address as their destination. Errors: EACCES if it lives
// here without a record, and `service` is not served here.
Result<int> held(World& world, const std::string& from, const FourTuple& tuple,
                 const std::string& service, const SocketAddress& line,
                 std::uint64_t generation = 0, bool routed = false);

// Compares records with another host, after its daemon or ours has started: what each
// has recorded of the other's endpoints.
asio::awaitable<void> reconcile(World& world, std::string host, SocketAddress line);
// Our routes to these hosts have changed, and redirects already use the new ones.
// Notifies the holders of the connections that we redirect there how their packets
// arrive.
asio::awaitable<void> notify_routes(World& world, std::vector<IpAddress> hosts);
// Queries the holder of one redirect after the other, without a particular reason, as
// long as the daemon runs.
asio::awaitable<void> ask_in_turn(World& world);

}  // namespace sockmi::daemon
