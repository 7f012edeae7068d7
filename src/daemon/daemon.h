// Connects the modules of the daemon with each other, and handles the requests of other
// daemons.
#pragma once

#include "applications/export_requests.h"
#include "connections/host_addresses.h"
#include "connections/kernel_state.h"
#include "context/world.h"
#include "daemon/control_dispatch.h"
#include "migration/exporter.h"
#include "migration/importer.h"
#include "takeover/give_address.h"
#include "takeover/receive_address.h"

namespace sockmi::daemon {

class Daemon : private Requests {
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

  World& world() { return world_; }
  ExportRequests& export_requests() { return export_requests_; }
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
  Daemon(asio::io_context& io, Config& config, const cluster::Identity& identity, Journal journal)
      : identity_(identity),
        world_(io, config.settings, std::move(config.policy), config.maxima, std::move(journal)),
        importer_(world_),
        export_requests_(io.get_executor()),
        taken_addresses_(world_),
        address_giver_(world_, export_requests_, taken_addresses_),
        address_receiver_(world_, taken_addresses_),
        own_addresses_(world_, taken_addresses_) {}
  asio::awaitable<Secret> answer(AuthenticatedHost from, Secret message);

  Result<> expect(const AuthenticatedHost& from) override { return importer_.expect(from.host); }
  std::vector<Result<>> passages(const AuthenticatedHost& from,
                                 const std::vector<wire::Crossing>& connections) override;
  Result<> receive_pre_copy(const AuthenticatedHost& from, const MigrationId& id,
                            ByteView bytes) override {
    return importer_.receive_pre_copy(id, from.host, bytes);
  }
  Result<> prepare(const AuthenticatedHost& from, const MigrationId& id, const SocketAddress& line,
                   wire::Endpoint endpoint, std::uint32_t ahead) override {
    return importer_.prepare(id, from.host, line, std::move(endpoint), ahead);
  }
  std::vector<Result<>> commit(const AuthenticatedHost& from,
                               const std::vector<wire::Committed>& endpoints) override {
    return importer_.commit(endpoints, from.host);
  }
  Result<> abort(const AuthenticatedHost& from, const std::vector<MigrationId>& ids) override {
    for (const auto& id : ids)
      importer_.abort(id, from.host);
    return {};
  }
  Result<> rest(const AuthenticatedHost& from, const MigrationId& id,
                const wire::FreezeDeltaT& late) override {
    return importer_.rest(from.host, id, late);
  }
  Result<> straggler(const AuthenticatedHost& from, const wire::StragglerT& straggler) override {
    return importer_.receive(from.host, straggler);
  }
  Result<> ended(const AuthenticatedHost& from, const FourTuple& tuple,
                 std::uint64_t generation) override;
  Result<> take_over(const AuthenticatedHost& from, const wire::TakeOver& said) override {
    return address_receiver_.on_message(from.host, said);
  }
  Result<int> inquire(const AuthenticatedHost& from, const MigrationId& id) override;
  Result<int> moved(const AuthenticatedHost& from, const FourTuple& tuple, const IpAddress& to,
                    const std::string& host, const std::string& service,
                    std::uint64_t generation) override;
  Result<int> held(const AuthenticatedHost& from, const FourTuple& tuple,
                   const std::string& service, const SocketAddress& line, std::uint64_t generation,
                   bool routed) override;

  const cluster::Identity identity_;
  World world_;
  Importer importer_;
  ExportRequests export_requests_;
  TakenAddresses taken_addresses_;
  AddressGiver address_giver_;
  AddressReceiver address_receiver_;
  KernelState repairs_;
  HostAddresses own_addresses_;
};

}  // namespace sockmi::daemon
