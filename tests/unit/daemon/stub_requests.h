// Requests of other hosts that a test does not handle: each of them calls called(). A
// test overrides those that it is about.
#pragma once

#include "daemon/control_dispatch.h"

namespace sockmi::daemon {

class StubRequests : public Requests {
 public:
  Result<> standby(const AuthenticatedHost&) override { return called(); }
  std::vector<Result<>> path_queries(const AuthenticatedHost&,
                                     const std::vector<wire::PathRequirements>&) override {
    return {called()};
  }
  Result<> receive_pre_copy(const AuthenticatedHost&, const MigrationId&, ByteView) override {
    return called();
  }
  std::vector<Result<>> prepare(const AuthenticatedHost&, const SocketAddress&,
                                std::vector<wire::IncomingImage>) override {
    return {called()};
  }
  std::vector<Result<>> commit(const AuthenticatedHost&,
                               const std::vector<wire::Committed>&) override {
    return {called()};
  }
  Result<> abort(const AuthenticatedHost&, const std::vector<MigrationId>&) override {
    return called();
  }
  Result<> late_write(const AuthenticatedHost&, const MigrationId&,
                      const wire::FreezeDeltaT&) override {
    return called();
  }
  Result<> straggler(const AuthenticatedHost&, const wire::StragglerT&) override {
    return called();
  }
  Result<> ended(const AuthenticatedHost&, const FourTuple&, std::uint64_t) override {
    return called();
  }
  Result<> take_over(const AuthenticatedHost&, const wire::TakeOver&) override { return called(); }
  Result<int> query_outcome(const AuthenticatedHost&, const MigrationId&) override {
    return answer();
  }
  Result<int> moved(const AuthenticatedHost&, const FourTuple&, const IpAddress&,
                    const std::string&, const std::string&, std::uint64_t) override {
    return answer();
  }
  Result<int> query_holder(const AuthenticatedHost&, const FourTuple&, const std::string&,
                           const SocketAddress&, std::uint64_t, bool) override {
    return answer();
  }

 private:
  virtual Result<> called() = 0;
  Result<int> answer() {
    if (auto result = called(); !result) return pass(std::move(result));
    return 0;
  }
};

}  // namespace sockmi::daemon
