#include "connections/recovery.h"

#include "base/log.h"
#include "base/spawn.h"
#include "cluster/hello.h"
#include "connections/imported.h"
#include "steer/packet_marks.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

// Long enough for every holder to reassert what it holds.
constexpr milliseconds kUnclaimedRedirectLifetime = cluster::kHelloTimeout;

using Sockets = std::map<std::uint64_t, net::TcpSocket>;

// Takes over the imported connections. The homes of those that ended while no daemon was
// running are notified now.
Result<> adopt_imported(Connections& connections, const Sockets& alive) {
  for (const auto& [number, imported] : connections.table.journal().pending_ends())
    spawn(connections.services.io, "tell_ended", connections.homes.notify_ended(number, imported));
  std::vector<std::uint64_t> gone;
  for (const auto& [cookie, imported] : connections.table.imported()) {
    connections.rules.readd(imported.tuple, imported.home_control);
    if (lives(connections.services, alive, cookie, imported.tuple)) continue;
    connections.rules.remove(imported.tuple, imported.home_control);
    gone.push_back(cookie);
  }
  for (const std::uint64_t cookie : gone) {
    if (const auto ended = connections.table.end_imported(cookie); ended && ended->notice != 0) {
      spawn(connections.services.io, "tell_ended",
            connections.homes.notify_ended(ended->notice, ended->connection));
    }
  }
  TRY_LET(rewritten, connections.services.steering->own().rewritten_destinations());
  // Left by a daemon that died before the endpoint had arrived for good.
  for (const auto& [tuple, own] : rewritten) {
    if (connections.rules.addresses().has(tuple)) continue;
    TRY(is_passive(tuple)
            ? connections.services.steering->own().stop_rewriting_port(tuple.local, own)
            : connections.services.steering->own().stop_rewriting(
                  {&tuple, 1}, own, connections.services.settings.linger));
    log::warn("destination_rewrite_orphaned", {{"connection", tuple}});
  }
  return connections.rules.addresses().adopt(connections.services.settings.linger);
}

// Drops moved connections of containers that are gone: a container that stopped while no
// daemon held its namespace has taken the path of its connections with it. A namespace
// that we may not enter continues to redirect without us; its records stay in the journal
// for a daemon that may enter it. `closed`: the number of namespaces that could not be
// entered.
void drop_lost_namespaces(Connections& connections, std::size_t closed) {
  std::vector<FourTuple> lost;
  for (const auto& [tuple, away] : connections.table.remote()) {
    if (away.container && !connections.services.steering->in_other_namespace(tuple.local.ip))
      lost.push_back(tuple);
  }
  for (const FourTuple& tuple : lost) {
    if (closed > 0) {
      connections.table.set_aside(tuple);
      continue;
    }
    log::warn("container_disappeared",
              {{"connection", tuple},
               {"host", connections.table.find_remote(tuple)->host},
               {"reason", "no network namespace of this host has its address any more"}});
    connections.table.mark_returned(tuple);
  }
  if (!lost.empty() && closed > 0) {
    log::warn("containers_skipped",
              {{"moved", lost.size()},
               {"count", closed},
               {"reason",
                "network namespaces cannot be entered: that needs CAP_SYS_ADMIN, see sockmid(8)"}});
  }
}

// Logs an error that concerns a container's namespace: it does not keep the daemon from
// starting.
Result<> tolerate_namespace_error(Connections& connections, const FourTuple& tuple, Result<> done) {
  if (done || !connections.services.steering->in_other_namespace(tuple.local.ip)) return done;
  log::error("redirect_recover_failed", {{"connection", tuple}, {"error", done.error()}});
  return {};
}

// Notifies home that an endpoint moved on from here before this daemon started.
asio::awaitable<void> notify_moved(Connections& connections, FourTuple tuple) {
  co_await connections.homes.notify_accepted(tuple);
  co_await connections.homes.notify_moved(tuple);
}

Result<> adopt_redirects(Connections& connections, const Sockets& alive, std::size_t closed) {
  // `undecided`: frozen sockets whose decisions may be what a damaged journal has lost.
  // An operator decides.
  std::set<FourTuple> living, undecided;
  const bool may_lack_facts = connections.table.journal().may_lack_facts();
  const auto live = [&](const Sockets& sockets) {
    for (const auto& [cookie, socket] : sockets) {
      living.insert(socket.tuple.unmapped());
      if (may_lack_facts && socket.mark == steer::kFreezeMark && tcp::is_movable(socket.state))
        undecided.insert(socket.tuple.unmapped());
    }
  };
  live(alive);
  connections.services.steering->within_others([&]() -> Result<> {
    TRY_LET(there, net::all_sockets());
    live(there);
    return {};
  });
  TRY_LET(found, connections.services.steering->redirects());
  std::map<FourTuple, steer::Redirect> in_kernel;
  for (const auto& redirect : found)
    in_kernel[redirect.tuple] = redirect;

  drop_lost_namespaces(connections, closed);
  // Nobody knows yet whether these have left. Their homes are notified when that is
  // settled.
  std::set<FourTuple> in_doubt;
  for (const auto& [id, decision] : connections.table.journal().decisions())
    if (!decision.host.empty()) in_doubt.insert(decision.tuple);
  std::set<SocketAddress> ports;
  for (const auto& [tuple, away] : connections.table.remote()) {
    in_kernel.erase(tuple.unmapped());
    // A listener is redirected when the other host has been discovered, see reconcile().
    if (is_passive(tuple)) {
      ports.insert({tuple.local.ip.unmapped(), tuple.local.port});
    }
    // The kernel's redirect may be missing, about to expire, or for another interface.
    else {
      TRY(tolerate_namespace_error(connections, tuple,
                                   connections.services.steering->at(tuple.local.ip)
                                       .redirect(tuple, away.address, std::nullopt)));
    }
    if (away.home != connections.services.settings.host && !in_doubt.contains(tuple) &&
        !undecided.contains(tuple.unmapped()))
      spawn(connections.services.io, "tell_moved", notify_moved(connections, tuple));
  }
  // The journal does not explain these redirects. If the connection lives here, its move
  // was not decided, unless the decision may be lost. A redirect with a timeout outlives
  // a connection that has ended. Of any other one we have lost the record: if a host
  // holds the connection, it reasserts that within kUnclaimedRedirectLifetime.
  for (const auto& [tuple, redirect] : in_kernel) {
    if (undecided.contains(tuple) && !redirect.expires_in) {
      connections.table.add_unexplained_redirect(tuple, redirect.to);
      continue;
    }
    auto done = living.contains(tuple)
                    ? connections.services.steering->at(tuple.local.ip).remove_redirect(tuple)
                : !redirect.expires_in
                    ? connections.services.steering->at(tuple.local.ip)
                          .redirect(tuple, redirect.to, kUnclaimedRedirectLifetime)
                    : Result<>();
    TRY(tolerate_namespace_error(connections, tuple, std::move(done)));
    if (!living.contains(tuple) && !redirect.expires_in)
      connections.table.add_unexplained_redirect(tuple, redirect.to);
    log::warn(
        "redirect_orphaned",
        {{"connection", tuple}, {"address", redirect.to}, {"lives_here", living.contains(tuple)}});
  }
  TRY_LET(redirected, connections.services.steering->redirected_ports());
  for (const SocketAddress& local : redirected) {
    const auto explains = [&](const SocketAddress& port) {
      return port.port == local.port && (port.ip.wildcard() || port.ip == local.ip);
    };
    if (std::ranges::any_of(ports, explains)) continue;
    log::warn("listener_redirect_orphaned", {{"listener", local}});
    TRY(tolerate_namespace_error(
        connections, {local, {}},
        connections.services.steering->at(local.ip).remove_port_redirect(local)));
  }
  return {};
}

}  // namespace

Result<> adopt(Connections& connections) {
  TRY_LET(alive, connections.services.all_sockets());
  TRY(adopt_imported(connections, alive));
  TRY_LET(closed, connections.services.steering->adopt());
  TRY(adopt_redirects(connections, alive, closed));
  if (!connections.table.remote().empty() || !connections.table.imported().empty()) {
    log::info("connections_recovered", {{"imported", connections.table.imported().size()},
                                        {"moved", connections.table.remote().size()}});
  }
  return {};
}

}  // namespace sockmi::daemon
