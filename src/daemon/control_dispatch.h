// Parses a request of another host, calls the function that handles it, and packs the
// answer. It does not depend on what the requests do, so that a fuzzer can call it.
#pragma once

#include <vector>

#include "cluster/authenticated_host.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

using cluster::AuthenticatedHost;
using wire::MigrationId;

// The requests of other hosts. The messages are well-formed; the implementer decides
// whether the sender may make the request.
class Requests {
 public:
  virtual ~Requests() = default;
  virtual Result<> standby(const AuthenticatedHost& from) = 0;
  // Returns for each connection whether it could live here.
  virtual std::vector<Result<>> path_queries(
      const AuthenticatedHost& from, const std::vector<wire::PathRequirements>& connections) = 0;
  virtual Result<> receive_pre_copy(const AuthenticatedHost& from, const MigrationId& id,
                                    ByteView bytes) = 0;
  // These two return a verdict on each endpoint, in the same order.
  virtual std::vector<Result<>> prepare(const AuthenticatedHost& from,
                                        const SocketAddress& control_address,
                                        std::vector<wire::IncomingImage> images) = 0;
  virtual std::vector<Result<>> commit(const AuthenticatedHost& from,
                                       const std::vector<wire::Committed>& endpoints) = 0;
  virtual Result<> abort(const AuthenticatedHost& from, const std::vector<MigrationId>& ids) = 0;
  virtual Result<> late_write(const AuthenticatedHost& from, const MigrationId& id,
                              const wire::FreezeDeltaT& delta) = 0;
  virtual Result<> straggler(const AuthenticatedHost& from, const wire::StragglerT& straggler) = 0;
  virtual Result<> ended(const AuthenticatedHost& from, const FourTuple& tuple,
                         std::uint64_t generation) = 0;
  virtual Result<> take_over(const AuthenticatedHost& from, const wire::TakeOver& said) = 0;
  // Questions, answered by a number; see Answer in control.fbs.
  virtual Result<int> query_outcome(const AuthenticatedHost& from, const MigrationId& id) = 0;
  virtual Result<int> moved(const AuthenticatedHost& from, const FourTuple& tuple,
                            const IpAddress& to, const std::string& host,
                            const std::string& service, std::uint64_t generation) = 0;
  virtual Result<int> query_holder(const AuthenticatedHost& from, const FourTuple& tuple,
                                   const std::string& service, const SocketAddress& control_address,
                                   std::uint64_t generation, bool routed) = 0;
};

// Accepts any bytes, and always returns an answer.
Secret dispatch(Requests& requests, const AuthenticatedHost& from, ByteView message);

}  // namespace sockmi::daemon
