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

 private:
  Connections& connections_;
  const Exports& exports_;
  Importer& importer_;
  AddressReceiver& address_receiver_;
};

}  // namespace sockmi::daemon
