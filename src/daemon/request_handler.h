// Handles the requests of other hosts: checks whether the sender may make them, and calls
// the module that they concern.
#pragma once

#include "connections/connections.h"
#include "daemon/control_dispatch.h"
#include "migration/exports.h"
#include "migration/importer.h"
#include "takeover/receive_address.h"

namespace sockmi::daemon {

class RequestHandler : public Requests {
 public:
  RequestHandler(Connections& connections, const Exports& exports, Importer& importer,
                 AddressReceiver& address_receiver)
      : connections_(connections),
        exports_(exports),
        importer_(importer),
        address_receiver_(address_receiver) {}

  Result<> standby(const AuthenticatedHost& from) override { return importer_.standby(from.host); }
  std::vector<Result<>> path_queries(
      const AuthenticatedHost& from,
      const std::vector<wire::PathRequirements>& connections) override;
  Result<> receive_pre_copy(const AuthenticatedHost& from, const MigrationId& id,
                            ByteView bytes) override {
    return importer_.receive_pre_copy(id, from.host, bytes);
  }
  std::vector<Result<>> prepare(const AuthenticatedHost& from, const SocketAddress& control_address,
                                std::vector<wire::IncomingImage> images) override {
    return importer_.prepare(from.host, control_address, std::move(images));
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
  Result<> late_write(const AuthenticatedHost& from, const MigrationId& id,
                      const wire::FreezeDeltaT& delta) override {
    return importer_.late_write(from.host, id, delta);
  }
  Result<> straggler(const AuthenticatedHost& from, const wire::StragglerT& straggler) override {
    return importer_.receive(from.host, straggler);
  }
  Result<> ended(const AuthenticatedHost& from, const FourTuple& tuple,
                 std::uint64_t generation) override;
  Result<> take_over(const AuthenticatedHost& from, const wire::TakeOver& said) override {
    return address_receiver_.on_message(from.host, said);
  }
  Result<int> query_outcome(const AuthenticatedHost& from, const MigrationId& id) override;
  Result<int> moved(const AuthenticatedHost& from, const FourTuple& tuple, const IpAddress& to,
                    const std::string& host, const std::string& service,
                    std::uint64_t generation) override;
  Result<int> query_holder(const AuthenticatedHost& from, const FourTuple& tuple,
                           const std::string& service, const SocketAddress& control_address,
                           std::uint64_t generation, bool routed) override;

 private:
  Connections& connections_;
  const Exports& exports_;
  Importer& importer_;
  AddressReceiver& address_receiver_;
};

}  // namespace sockmi::daemon
