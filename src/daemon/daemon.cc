#include "daemon/daemon.h"

#include <algorithm>

#include "base/log.h"
#include "base/spawn.h"
#include "base/unlocked.h"
#include "cluster/identity_watch.h"
#include "connections/accepted.h"
#include "connections/journal_keeper.h"
#include "connections/lifecycle.h"
#include "connections/recovery.h"
#include "daemon/shutdown.h"
#include "daemon/start.h"
#include "migration/return_unclaimed.h"
#include "steer/boot_filter.h"
#include "steer/host_checks.h"
#include "steer/nft_steering.h"
#include "steer/rcu_barrier.h"
#include "steer/syn_filter.h"

namespace sockmi::daemon {

Daemon::Daemon(asio::io_context& io, Config& config, const cluster::Identity& identity,
               Journal journal)
    : identity_(identity),
      settings_(config.settings),
      policy_(std::move(config.policy)),
      import_queue_(config.maxima, policy_),
      hand_overs_(io.get_executor(), import_queue_),
      services_{.io = io,
                .workers = workers_,
                .settings = settings_,
                .policy = policy_,
                .counters = counters_,
                .history = history_,
                .in_doubt = in_doubt_,
                .low_latency = low_latency_,
                .stopping = stopping_},
      connections_(services_, std::move(journal)),
      exports_(connections_, import_queue_),
      importer_(connections_, import_queue_, congestion_),
      export_requests_(io.get_executor()),
      drain_(connections_, export_requests_, import_queue_, importer_, config.state_folder),
      taken_addresses_(connections_),
      address_giver_(connections_, export_requests_, taken_addresses_),
      address_receiver_(connections_, taken_addresses_),
      requests_(connections_, exports_, importer_, address_receiver_),
      own_addresses_(connections_, settings_, taken_addresses_) {}

Result<std::unique_ptr<Daemon>> Daemon::open(asio::io_context& io, Config config,
                                             const cluster::Identity& identity) {
  TRY_LET(journal, Journal::open(config.state_folder));
  std::unique_ptr<Daemon> daemon(new Daemon(io, config, identity, std::move(journal)));
  Services& services = daemon->services_;
  Connections& connections = daemon->connections_;
  daemon->exports_.guard = std::move(config.guard);
  TRY_LET(addresses, net::AddressMonitor::open());
  TRY_LET(steering, steer::make_nft_steering(services.settings.interfaces));
  daemon->steering_ = std::make_unique<steer::NamespacedSteering>(std::move(steering));
  services.steering = daemon->steering_.get();
  TRY(steer::remove_syn_filters());
  TRY_LET(ends, net::SocketEnds::open());
  daemon->ends_ = std::move(ends);
  services.ends = daemon->ends_.get();
  TRY(adopt(connections));
  if (auto released = steer::release_connections(); !released)
    log::error("boot_filter_remove_failed", {{"error", released.error()}});
  TRY(adopt_sockets(daemon->exports_, daemon->importer_));
  services.steering->own().keep(rules_are_needed(connections, daemon->import_queue_));
  log::info("rcu_barrier_chosen", {{"form", steer::barrier_form()}});
  for (const std::string& warning : steer::warnings(services.settings.interfaces))
    log::warn("host_check_failed", {{"warning", warning}});
  TRY_LET(transfer, cluster::ControlChannel::open(
                        io, identity, services.settings.control_address(),
                        [self = daemon.get()](cluster::AuthenticatedHost from, Secret message) {
                          return self->answer(std::move(from), std::move(message));
                        }));
  daemon->control_ = std::move(transfer);
  services.control = daemon->control_.get();
  services.control->set_member_addresses([&services](const IpAddress& address) {
    const auto hosts =
        services.discovery ? services.discovery->hosts() : std::vector<cluster::HostInfo>();
    return std::ranges::any_of(
        hosts, [&](const cluster::HostInfo& each) { return each.control_address.ip == address; });
  });
  config.discovery.on_start = [&io, &connections](const std::string& host,
                                                  const SocketAddress& control_address) {
    spawn(io, "reconcile", connections.homes.reconcile(host, control_address));
  };
  TRY_LET(discovery,
          cluster::Discovery::open(io, identity, std::move(config.discovery), daemon->importer_));
  daemon->discovery_ = std::move(discovery);
  services.discovery = daemon->discovery_.get();
  daemon->taken_addresses_.recover();
  spawn(io, "watch_kept", daemon->taken_addresses_.watch());
  spawn(io, "ask_in_turn", connections.homes.ask_in_turn());
  spawn(io, "keep_up", keep_up(connections, daemon->repairs_));
  spawn(io, "keep_current", cluster::keep_current(io, services.workers, identity));
  spawn(io, "follow_addresses", daemon->own_addresses_.follow(std::move(addresses)));
  spawn(io, "own_ports", watch_ports(services, connections.table, connections.rules));
  spawn(io, "watch_ends", watch_ends(connections));
  spawn(io, "watch_closed", watch_closed(connections));
  spawn(io, "return_unclaimed",
        return_unclaimed(daemon->exports_, daemon->deliveries_, daemon->hand_overs_));
  daemon->drain_.resume();
  spawn(io, "keep_journal", keep_journal(io, connections.table));
  return daemon;
}

std::vector<std::string> Daemon::warnings() const {
  std::vector<std::string> out = services_.discovery->warnings();
  std::ranges::move(taken_addresses_.warnings(), std::back_inserter(out));
  std::ranges::move(connections_.rules.ports().warnings(), std::back_inserter(out));
  if (!drain_.warning().empty()) out.push_back(drain_.warning());
  if (const std::string dates = identity_.now()->warning(); !dates.empty()) out.push_back(dates);
  if (unlocked_secret_bytes() > 0) {
    out.push_back(
        "memory of secrets could not be locked and may be swapped: LimitMEMLOCK of the service is "
        "too small");
  }
  return out;
}

asio::awaitable<Secret> Daemon::answer(AuthenticatedHost from, Secret message) {
  co_return dispatch(requests_, from, message);
}

asio::awaitable<void> Daemon::shut_down() {
  log::info("daemon_stopping", {{"exports", exports_.under_way},
                                {"ready", import_queue_.ready().size()},
                                {"in_doubt", importer_.in_doubt()}});
  stopping_ = true;
  importer_.refuse_reserved();
  hand_overs_.stop();
  co_await finish_moves(exports_, deliveries_, importer_);
  co_await finish_connections(connections_);
  const bool needed = rules_are_needed(connections_, import_queue_);
  if (needed || !connections_.table.remote().empty()) {
    log::info("rules_kept", {{"imported", connections_.table.imported().size()},
                             {"moved", connections_.table.remote().size()}});
  }
  services_.steering->own().keep(needed);
}

}  // namespace sockmi::daemon
