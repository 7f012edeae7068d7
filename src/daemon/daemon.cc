#include "daemon/daemon.h"

#include <algorithm>

#include "base/log.h"
#include "base/spawn.h"
#include "base/unlocked.h"
#include "cluster/identity_watch.h"
#include "connections/claims.h"
#include "connections/home_protocol.h"
#include "connections/journal_keeper.h"
#include "connections/lifecycle.h"
#include "connections/orphaned_sockets.h"
#include "connections/recovery.h"
#include "migration/path_check.h"
#include "migration/return_unclaimed.h"
#include "steer/boot_filter.h"
#include "steer/host_checks.h"
#include "steer/syn_filter.h"
#include "wire/flatbuffer.h"

namespace sockmi::daemon {

Result<std::unique_ptr<Daemon>> Daemon::open(asio::io_context& io, Config config,
                                             const cluster::Identity& identity) {
  TRY_LET(journal, Journal::open(config.state_folder));
  std::unique_ptr<Daemon> daemon(new Daemon(io, config, identity, std::move(journal)));
  World& world = daemon->world_;
  world.guard = std::move(config.guard);
  TRY_LET(addresses, net::AddressNews::open());
  TRY_LET(steering, steer::make_nft_steering(world.settings.interfaces));
  world.steering = std::make_unique<steer::NamespacedSteering>(std::move(steering));
  TRY(steer::remove_syn_filters());
  TRY_LET(ends, net::SocketEnds::open());
  world.ends = std::move(ends);
  TRY(adopt(world));
  if (auto released = steer::release_connections(); !released)
    log::error("event=still_held error=\"{}\"", to_string(released.error()));
  TRY_LET(sockets, sockets_everywhere(world));
  std::set<std::uint64_t> alive;
  for (const auto& [cookie, socket] : sockets)
    // Without an inode no application has the socket: it ended with the daemon that had
    // it.
    if (socket.inode != 0) alive.insert(cookie);
  daemon->importer_.adopt(alive);
  adopt_orphans(world, sockets);
  world.steering->keep(rules_are_needed(world));
  log::info("event=barrier form={}", steer::barrier_form());
  for (const std::string& warning : steer::warnings(world.settings.interfaces))
    log::warn("event=environment warning=\"{}\"", warning);
  TRY_LET(transfer, cluster::ControlChannel::open(
                        io, identity, world.settings.line(),
                        [self = daemon.get()](cluster::AuthenticatedHost from, Secret message) {
                          return self->answer(std::move(from), std::move(message));
                        }));
  world.control = std::move(transfer);
  world.control->set_member_addresses([&world](const IpAddress& address) {
    const auto peers =
        world.discovery ? world.discovery->hosts() : std::vector<cluster::HostInfo>();
    return std::ranges::any_of(
        peers, [&](const cluster::HostInfo& peer) { return peer.line.ip == address; });
  });
  config.discovery.on_start = [&io, &world](const std::string& host, const SocketAddress& line) {
    spawn(io, "compare_notes", reconcile(world, host, line));
  };
  TRY_LET(negotiation,
          cluster::Discovery::open(io, identity, std::move(config.discovery), daemon->importer_));
  world.discovery = std::move(negotiation);
  daemon->taken_addresses_.recover();
  spawn(io, "watch_kept", daemon->taken_addresses_.watch());
  spawn(io, "ask_in_turn", ask_in_turn(world));
  spawn(io, "keep_up", keep_up(world, daemon->repairs_));
  spawn(io, "keep_current", cluster::keep_current(io, world.workers, identity));
  spawn(io, "follow_addresses", daemon->own_addresses_.follow(std::move(addresses)));
  spawn(io, "own_ports", world.port_reservations.watch(world));
  spawn(io, "watch_ends", watch_ends(world));
  spawn(io, "watch_closed", watch_closed(world));
  spawn(io, "return_unclaimed", return_unclaimed(world));
  spawn(io, "keep_journal", keep_journal(world));
  return daemon;
}

std::vector<Result<>> Daemon::passages(const AuthenticatedHost& from,
                                       const std::vector<wire::Crossing>& connections) {
  std::vector<Result<>> verdicts;
  steer::KernelQueries kernel;
  for (const auto& each : connections) {
    const auto free = world_.table.may_come(from.host, each.tuple);
    verdicts.push_back(free ? may_arrive(world_, kernel, each) : free);
  }
  return verdicts;
}

// Answers QueryOutcome: -1 undecided, 0 aborted, 1 committed.
Result<int> Daemon::inquire(const AuthenticatedHost&, const MigrationId& id) {
  return world_.undecided.contains(id) ? -1 : world_.table.journal().has(id) ? 1 : 0;
}

Result<int> Daemon::moved(const AuthenticatedHost& from, const FourTuple& tuple,
                          const IpAddress& to, const std::string& host, const std::string& service,
                          std::uint64_t generation) {
  TRY(check_address(world_, from, host, to));
  return daemon::moved(world_, from.host, tuple, to, host, service, generation);
}

Result<int> Daemon::held(const AuthenticatedHost& from, const FourTuple& tuple,
                         const std::string& service, const SocketAddress& line,
                         std::uint64_t generation, bool routed) {
  TRY(check_address(world_, from, from.host, line.ip));
  TRY_LET(answer, daemon::held(world_, from.host, tuple, service, line, generation, routed));
  return answer == 1 && importer_.unheard_peers().is_silent(tuple) ? 2 : answer;
}

Result<> Daemon::ended(const AuthenticatedHost& from, const FourTuple& tuple,
                       std::uint64_t generation) {
  return daemon::ended(world_, from.host, tuple, generation);
}

std::vector<std::string> Daemon::warnings() const {
  std::vector<std::string> out = world_.discovery->warnings();
  std::ranges::move(taken_addresses_.warnings(), std::back_inserter(out));
  std::ranges::move(world_.port_reservations.warnings(), std::back_inserter(out));
  if (const std::string dates = identity_.now()->warning(); !dates.empty()) out.push_back(dates);
  if (unlocked_secret_bytes() > 0)
    out.push_back(
        "memory of secrets could not be locked and may be swapped: LimitMEMLOCK of the service is "
        "too small");
  return out;
}

asio::awaitable<Secret> Daemon::answer(AuthenticatedHost from, Secret message) {
  co_return dispatch(*this, from, message);
}

asio::awaitable<void> Daemon::shut_down() {
  log::info("event=stopping exports={} ready={} in_doubt={}", world_.exports_under_way,
            world_.import_queue.ready().size(), importer_.in_doubt());
  world_.stopping = true;
  importer_.refuse_reserved();
  co_await drain(world_, importer_);
  co_await daemon::shut_down(world_);
  const bool needed = rules_are_needed(world_);
  if (needed || !world_.table.remote().empty())
    log::info("event=rules_stay imported={} away={}", world_.table.imported().size(),
              world_.table.remote().size());
  world_.steering->keep(needed);
}

}  // namespace sockmi::daemon
