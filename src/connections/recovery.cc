#include "connections/recovery.h"

#include "base/log.h"
#include "base/spawn.h"
#include "connections/foreign_rules.h"
#include "connections/home_protocol.h"
#include "connections/lifecycle.h"
#include "connections/redirects.h"

namespace sockmi::daemon {
namespace {

// Three HELLO intervals: long enough for every holder to reassert what it holds.
constexpr milliseconds kUnclaimedRedirectLifetime{15000};

using Sockets = std::map<std::uint64_t, net::TcpSocket>;

// Takes over the imported connections. The homes of those that ended while no daemon was
// running are notified now.
Result<> adopt_residents(World& world, const Sockets& alive) {
  for (const auto& [number, resident] : world.table.journal().pending_ends())
    spawn(world.io, "tell_ended", notify_ended(world, number, resident));
  std::vector<std::uint64_t> gone;
  for (const auto& [cookie, resident] : world.table.imported()) {
    readd_foreign_rules(world, resident.tuple, resident.home_control);
    if (lives(world, alive, cookie, resident.tuple)) continue;
    remove_foreign_rules(world, resident.tuple, resident.home_control, world.settings.linger);
    gone.push_back(cookie);
  }
  for (const std::uint64_t cookie : gone)
    if (const auto ended = world.table.end_imported(cookie); ended && ended->notice != 0)
      spawn(world.io, "tell_ended", notify_ended(world, ended->notice, ended->connection));
  TRY_LET(readdressed, world.steering->readdressed());
  // Left by a daemon that died before the endpoint had arrived for good.
  for (const auto& [guest, own] : readdressed) {
    if (world.foreign_addresses.has(guest)) continue;
    TRY(is_passive(guest)
            ? world.steering->remove_readdress_port(guest.local, own)
            : world.steering->remove_readdress({&guest, 1}, own, world.settings.linger));
    log::warn("event=readdress_unexplained guest={}", to_string(guest));
  }
  return world.foreign_addresses.adopt(world.settings.linger);
}

// Drops moved connections of containers that are gone: a container that stopped while no
// daemon held its namespace has taken the path of its connections with it. A namespace
// that we may not enter continues to redirect without us; its records stay in the journal
// for a daemon that may enter it. `closed`: the number of namespaces that could not be
// entered.
void drop_lost_namespaces(World& world, std::size_t closed) {
  std::vector<FourTuple> lost;
  for (const auto& [tuple, away] : world.table.remote())
    if (away.container && !world.steering->in_other_namespace(tuple.local.ip))
      lost.push_back(tuple);
  for (const FourTuple& tuple : lost) {
    if (closed > 0) {
      world.table.set_aside(tuple);
      continue;
    }
    log::warn(
        "event=container_gone connection={} host={} reason=\"no network namespace here has its "
        "address any more\"",
        to_string(tuple), world.table.find_remote(tuple)->host);
    world.table.mark_returned(tuple);
  }
  if (!lost.empty() && closed > 0)
    log::warn(
        "event=containers_not_adopted away={} closed={} reason=\"network namespaces can not be "
        "looked into: wants CAP_SYS_ADMIN, see sockmid(8)\"",
        lost.size(), closed);
}

// Logs an error that concerns a container's namespace: it does not keep the daemon from
// starting.
Result<> tolerate_namespace_error(const World& world, const FourTuple& tuple, Result<> done) {
  if (done || !world.steering->in_other_namespace(tuple.local.ip)) return done;
  log::error("event=redirect_not_adopted connection={} error=\"{}\"", to_string(tuple),
             to_string(done.error()));
  return {};
}

Result<> adopt_redirects(World& world, const Sockets& alive, std::size_t closed) {
  std::set<FourTuple> living;
  const auto live = [&](const Sockets& sockets) {
    for (const auto& [cookie, socket] : sockets)
      living.insert(socket.tuple.unmapped());
  };
  live(alive);
  world.steering->within_others([&]() -> Result<> {
    TRY_LET(there, net::all_sockets());
    live(there);
    return {};
  });
  TRY_LET(found, world.steering->redirects());
  std::map<FourTuple, steer::Redirect> in_kernel;
  for (const auto& redirect : found)
    in_kernel[redirect.tuple] = redirect;

  drop_lost_namespaces(world, closed);
  std::set<SocketAddress> ports;
  for (const auto& [tuple, away] : world.table.remote()) {
    in_kernel.erase(tuple.unmapped());
    // A listener is redirected when the other host has been discovered, see reconcile().
    if (is_passive(tuple)) ports.insert({tuple.local.ip.unmapped(), tuple.local.port});
    // The kernel's redirect may be missing, about to expire, or for another interface.
    else
      TRY(tolerate_namespace_error(world, tuple,
                                   world.steering->redirect(tuple, away.address, std::nullopt)));
    if (away.home != world.settings.host) spawn(world.io, "tell_moved", notify_moved(world, tuple));
  }
  // The journal does not explain these redirects. If the connection lives here, its move
  // was not decided. A redirect with a timeout outlives a connection that has ended. Of
  // any other one we have lost the record: if a host holds the connection, it reasserts
  // that within kUnclaimedRedirectLifetime.
  for (const auto& [tuple, redirect] : in_kernel) {
    auto done = living.contains(tuple) ? world.steering->remove_redirect(tuple)
                : !redirect.expires_in
                    ? world.steering->redirect(tuple, redirect.to, kUnclaimedRedirectLifetime)
                    : Result<>();
    TRY(tolerate_namespace_error(world, tuple, std::move(done)));
    if (!living.contains(tuple) && !redirect.expires_in)
      world.table.add_unexplained_redirect(tuple, redirect.to);
    log::warn("event=redirect_unexplained connection={} to={} lives_here={}", to_string(tuple),
              to_string(redirect.to), living.contains(tuple));
  }
  TRY_LET(redirected, world.steering->redirected_ports());
  for (const SocketAddress& local : redirected) {
    const auto explains = [&](const SocketAddress& port) {
      return port.port == local.port && (port.ip.wildcard() || port.ip == local.ip);
    };
    if (std::ranges::any_of(ports, explains)) continue;
    log::warn("event=port_redirect_unexplained local={}", to_string(local));
    TRY(tolerate_namespace_error(world, {local, {}}, world.steering->remove_port_redirect(local)));
  }
  return {};
}

}  // namespace

Result<> adopt(World& world) {
  TRY_LET(alive, net::all_sockets());
  TRY(adopt_residents(world, alive));
  TRY_LET(closed, world.steering->adopt());
  TRY(adopt_redirects(world, alive, closed));
  if (!world.table.remote().empty() || !world.table.imported().empty())
    log::info("event=adopted imported={} away={}", world.table.imported().size(),
              world.table.remote().size());
  return {};
}

}  // namespace sockmi::daemon
