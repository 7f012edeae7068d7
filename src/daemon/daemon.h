// Connects the modules of the daemon with each other.
#pragma once

#include "applications/deliveries.h"
#include "applications/export_requests.h"
#include "applications/hand_overs.h"
#include "congestion/cwnd_carrier.h"
#include "connections/connections.h"
#include "connections/kernel_state.h"
#include "daemon/request_handler.h"
#include "drain/drain.h"
#include "migration/exports.h"
#include "migration/importer.h"
#include "takeover/give_address.h"
#include "takeover/host_addresses.h"
#include "takeover/receive_address.h"

namespace sockmi::daemon {

class Daemon {
 public:
  struct Config {
    Settings settings;
    Policy policy;
    QueueLimits maxima;
    std::filesystem::path state_folder;
    cluster::DiscoveryConfig discovery;
    std::shared_ptr<CrashGuard> guard;
  };
  static Result<std::unique_ptr<Daemon>> open(asio::io_context& io, Config config,
                                              const cluster::Identity& identity);

  const Services& services() const { return services_; }
  Connections& connections() { return connections_; }
  ImportQueue& import_queue() { return import_queue_; }
  Deliveries& deliveries() { return deliveries_; }
  HandOvers& hand_overs() { return hand_overs_; }
  Exports& exports() { return exports_; }
  ExportRequests& export_requests() { return export_requests_; }
  const congestion::CwndCarrier& congestion() const { return congestion_; }
  Clock::time_point started() const { return started_; }
  // Passes on to LowLatency::poll().
  bool poll(std::size_t handled) { return low_latency_.poll(handled); }
  Drain& drain() { return drain_; }
  AddressGiver& address_giver() { return address_giver_; }
  const UnheardPeers& unheard_peers() const { return importer_.unheard_peers(); }
  const KernelState& repairs() const { return repairs_; }
  // What is wrong with the cluster's certificates and clocks, with the addresses and
  // ports of this host, or with the secrecy of this process.
  std::vector<std::string> warnings() const;
  const HostAddresses& own_addresses() const { return own_addresses_; }

  // For a daemon that stops: begins nothing new, lets what is in progress complete, and
  // sends home what would end with the daemon (return_unclaimed.h). The rules of
  // connections that live on stay in the kernel; the next daemon takes them over.
  asio::awaitable<void> shut_down();

 private:
  Daemon(asio::io_context& io, Config& config, const cluster::Identity& identity, Journal journal);
  asio::awaitable<Secret> answer(AuthenticatedHost from, Secret message);

  const cluster::Identity identity_;
  Settings settings_;
  const Policy policy_;
  Counters counters_;
  History history_;
  Doubts in_doubt_;
  LowLatency low_latency_;
  bool stopping_ = false;
  const Clock::time_point started_ = Clock::now();
  ImportQueue import_queue_;
  Deliveries deliveries_{import_queue_, [this](std::span<const wire::MigrationId> group) {
                           connections_.table.log_delivery(group);
                         }};
  HandOvers hand_overs_;
  const congestion::CwndCarrier congestion_ = congestion::CwndCarrier::open();
  Services services_;
  std::unique_ptr<steer::NamespacedSteering> steering_;
  Connections connections_;
  std::unique_ptr<net::SocketEnds> ends_;
  std::unique_ptr<cluster::Discovery> discovery_;
  std::unique_ptr<cluster::ControlChannel> control_;
  Exports exports_;
  // Two, so that no export waits for a barrier while the identity folder cannot be read.
  asio::thread_pool workers_{2};
  Importer importer_;
  ExportRequests export_requests_;
  Drain drain_;
  TakenAddresses taken_addresses_;
  AddressGiver address_giver_;
  AddressReceiver address_receiver_;
  RequestHandler requests_;
  KernelState repairs_;
  HostAddresses own_addresses_;
};

}  // namespace sockmi::daemon
