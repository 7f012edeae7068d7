// The state that the daemon's modules share: its settings, the modules themselves, and
// this host's records.
#pragma once

#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "applications/deliveries.h"
#include "applications/import_queue.h"
#include "applications/policy.h"
#include "cluster/cluster.h"
#include "congestion/cwnd_carrier.h"
#include "connections/foreign_addresses.h"
#include "connections/port_reservations.h"
#include "connections/table.h"
#include "migration/crash_guard.h"
#include "migration/in_doubt.h"
#include "migration/low_latency.h"
#include "net/sock_diag.h"
#include "steer/namespaced_steering.h"
#include "tcp/sequences.h"

namespace sockmi::daemon {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

inline constexpr tcp::Marks kMarks{.freeze = steer::kFreezeMark, .inject = steer::kInjectMark};

struct Settings {
  std::string host;         // our name in the cluster
  IpAddress address;        // where redirected packets and other daemons reach us
  IpAddress other_address;  // for redirected packets of the other family; any(): none
  std::uint16_t control_port = 7078;
  std::vector<std::string> interfaces;  // on which the peers' packets arrive
  milliseconds freeze_timeout{5000};    // an undecided freeze ends after this
  milliseconds linger{60000};           // how long rules outlive their connection (TIME_WAIT)
  milliseconds wait{30000};             // for an application to import; then the endpoint goes home
  bool require_importer = true;         // refuse offers for which no application waits
  std::vector<Match> takeover;          // addresses that this host may take over
  bool believe_holders = false;   // accept claims to connections without a record, see claims.h
  std::filesystem::path runtime;  // in memory (tmpfs): survives the daemon, but not the host
  bool testing = false;           // fault points may be armed

  const IpAddress& address_for(const IpAddress& local) const {
    return address.family == local.unmapped().family ? address : other_address;
  }
  SocketAddress line() const { return {address, control_port}; }
};

// A host that did not answer. It is not asked before `until`.
struct UnreachableHost {
  Clock::time_point until;
  milliseconds pause{20};
};

// One entry of /v1/migrations.
struct Record {
  wire::MigrationId id{};
  bool exported = false;  // else imported
  std::string service, from, to, result, error;
  User owner;
  FourTuple tuple;
  std::chrono::system_clock::time_point started;
  // From the freeze to the importer's thaw, which is computed from COMMIT's round trip.
  // -1: not known.
  std::int64_t freeze_us = -1;
  // What was sent in the freeze. Exports: the endpoint's share of the PREPARE message.
  // Imports: only the TLS image and the payload.
  std::size_t bytes = 0;
  // Bytes of the receive queue that the importer had before the freeze.
  std::size_t ahead = 0;
};

struct Counters {
  std::uint64_t exported = 0, imported = 0, failed = 0, returned_home = 0, reset = 0;
  // Imported connections that we reasserted to their home: it had lost its record and
  // redirects them again (reasserted), or rejects them (rejected).
  std::uint64_t reasserted = 0, rejected = 0;
};

struct World {
  World(asio::io_context& io, Settings settings, Policy policy, QueueLimits maxima, Journal journal)
      : io(io),
        settings(std::move(settings)),
        policy(std::move(policy)),
        import_queue(maxima, this->policy),
        table(std::move(journal), this->settings.host, this->settings.line()) {}
  World(const World&) = delete;

  asio::io_context& io;
  Settings settings;  // only HostAddresses changes it, and only other_address
  const Policy policy;
  ImportQueue import_queue;
  Deliveries deliveries{import_queue};
  ConnectionTable table;
  const congestion::CwndCarrier congestion = congestion::CwndCarrier::open();
  std::unique_ptr<steer::NamespacedSteering> steering;
  ForeignAddresses foreign_addresses{io, steering};
  PortReservations port_reservations;
  std::unique_ptr<net::SocketEnds> ends;
  std::unique_ptr<cluster::Discovery> discovery;
  std::unique_ptr<cluster::ControlChannel> control;
  std::shared_ptr<CrashGuard> guard;  // none in tests
  asio::thread_pool workers{1};       // for calls that block
  std::function<Result<net::TcpSocket>(const FourTuple&)> find_socket = net::find_socket;
  std::function<Result<std::map<std::uint64_t, net::TcpSocket>>()> all_sockets = net::all_sockets;

  std::map<std::string, UnreachableHost> silent;  // by host
  // Hosts with which we are comparing records (reconcile()). A value: the host has
  // started again meanwhile, and is asked there once more.
  std::map<std::string, std::optional<SocketAddress>> comparing;
  tcp::Histories histories;               // of sockets whose export has failed
  std::set<wire::MigrationId> undecided;  // our exports between PREPARE and the decision
  Doubts in_doubt;
  std::deque<Record> history;
  const Clock::time_point started = Clock::now();
  Counters counters;
  LowLatency low_latency;
  bool stopping = false;  // the daemon is stopping: it begins nothing new
  std::size_t exports_under_way = 0;

  void remember(Record record) {
    history.push_back(std::move(record));
    if (history.size() > 4096) history.pop_front();
  }
};

}  // namespace sockmi::daemon
