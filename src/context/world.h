// What a migration works with: the rooms it visits, and what this host remembers.
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
#include "migration/in_doubt.h"
#include "connections/endings.h"
#include "migration/crash_guard.h"
#include "migration/low_latency.h"
#include "applications/import_queue.h"
#include "connections/journal.h"
#include "connections/port_reservations.h"
#include "applications/policy.h"
#include "connections/foreign_addresses.h"
#include "connections/records.h"
#include "congestion/cwnd_carrier.h"
#include "cluster/cluster.h"
#include "steer/namespaced_steering.h"
#include "net/sock_diag.h"
#include "tcp/sequences.h"

namespace sockmi::daemon {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

inline constexpr tcp::Marks kMarks{.freeze = steer::kFreezeMark, .inject = steer::kInjectMark};

struct Settings {
  std::string host;                   // our name in the cluster
  IpAddress address;                  // where redirected packets and other daemons reach us
  IpAddress other_address;            // where redirected packets of the other family do; any(): nowhere
  std::uint16_t line_port = 7078;
  std::vector<std::string> interfaces;  // by which the peers' packets come in
  milliseconds freeze_timeout{5000};  // an undecided freeze ends by itself after this
  milliseconds linger{60000};         // how long rules outlive their connection (TIME_WAIT)
  milliseconds wait{30000};           // for an application to import; then the endpoint goes home
  bool require_importer = true;       // refuse offers for which no application waits
  std::vector<Match> takeover;        // addresses that other hosts may bring here
  bool believe_holders = false;       // of a connection of ours that we have forgotten; see claims.h
  std::filesystem::path runtime;      // a folder in memory, for what outlives the daemon, and not the host
  bool testing = false;               // fault points may be armed

  const IpAddress& address_for(const IpAddress& local) const { return address.family == local.unmapped().family ? address : other_address; }
  SocketAddress line() const { return {address, line_port}; }
};

// A host that did not answer: nobody asks it before `until`.
struct UnreachableHost {
  Clock::time_point until;
  milliseconds pause{20};
};

// One line of /v1/migrations.
struct Record {
  wire::MigrationId id{};
  bool exported = false;  // else imported
  std::string service, from, to, result, error;
  User owner;
  FourTuple tuple;
  std::chrono::system_clock::time_point started;
  std::int64_t freeze_us = -1;  // from the freeze to the importer's thaw, told from COMMIT's round trip; -1: not known
  std::size_t bytes = 0;        // the image's size: what travelled in the freeze
  std::size_t ahead = 0;        // bytes of the receive queue that were with the importer before the freeze
};

struct Counters {
  std::uint64_t exported = 0, imported = 0, failed = 0, returned_home = 0, reset = 0;
  std::uint64_t told_again = 0, disowned = 0;  // residents whose home had forgotten them, and redirects to them again, or does not
};

struct World {
  World(asio::io_context& io, Settings settings, Policy policy, QueueLimits maxima, Journal journal)
      : io(io), settings(std::move(settings)), policy(std::move(policy)), lists(maxima, this->policy), journal(std::move(journal)) {}
  World(const World&) = delete;

  asio::io_context& io;
  Settings settings;  // of which follow_addresses() changes other_address, and nobody anything else
  const Policy policy;
  ImportQueue lists;
  Deliveries deliveries{lists};
  Journal journal;
  const congestion::CwndCarrier congestion = congestion::CwndCarrier::open();
  std::unique_ptr<steer::NamespacedSteering> steering;
  ForeignAddresses shelter{io, steering};
  PortReservations own_ports;
  std::unique_ptr<net::SocketEnds> ends;
  std::unique_ptr<cluster::Discovery> negotiation;
  std::unique_ptr<cluster::ControlChannel> transfer;
  std::shared_ptr<CrashGuard> guard;  // none in tests
  asio::thread_pool workers{1};  // for calls that block
  std::function<Result<net::TcpSocket>(const FourTuple&)> find_socket = net::find_socket;
  std::function<Result<std::map<std::uint64_t, net::TcpSocket>>()> all_sockets = net::all_sockets;

  // Changed by the functions of residents.h and homes.h alone: the journal has to know too.
  std::map<std::uint64_t, ImportedConnection> residents;   // by socket cookie
  std::map<FourTuple, RemoteConnection> away;
  RecentEnds endings;  // of what was away
  std::map<FourTuple, std::uint64_t> unheard;    // of what is away: those whose holder has never heard of the peer, with their generation
  std::map<FourTuple, IpAddress> found;          // redirects that our kernel had when we started, and that the journal does not explain
  std::map<std::string, UnreachableHost> silent;         // by host
  std::map<std::string, std::optional<SocketAddress>> comparing;  // notes with these hosts; one that has started meanwhile is asked there once more
  tcp::Histories histories;                      // of sockets whose export has failed
  std::set<wire::MigrationId> undecided;        // exports of ours between PREPARE and the decision
  Doubts doubts;
  std::deque<Record> history;
  Counters counters;
  LowLatency hurry;
  bool stopping = false;             // the daemon: nothing new is begun
  std::size_t exports_under_way = 0;

  void remember(Record record) {
    history.push_back(std::move(record));
    if (history.size() > 4096) history.pop_front();
  }
};

}  // namespace sockmi::daemon
