#include "daemon/request_handler.h"

#include "connections/claims.h"
#include "migration/path_check.h"

namespace sockmi::daemon {

std::vector<Result<>> RequestHandler::path_queries(
    const AuthenticatedHost& from, const std::vector<wire::PathRequirements>& connections) {
  std::vector<Result<>> verdicts;
  steer::KernelQueries kernel;
  for (const auto& each : connections) {
    const auto free = connections_.table.may_come(from.host, each.tuple);
    verdicts.push_back(free ? may_arrive(connections_.services, kernel, each) : free);
  }
  return verdicts;
}

// Answers QueryOutcome: -1 undecided, 0 aborted, 1 committed.
Result<int> RequestHandler::query_outcome(const AuthenticatedHost&, const MigrationId& id) {
  return exports_.undecided.contains(id) ? -1 : connections_.table.journal().has(id) ? 1 : 0;
}

Result<int> RequestHandler::moved(const AuthenticatedHost& from, const FourTuple& tuple,
                                  const IpAddress& to, const std::string& host,
                                  const std::string& service, std::uint64_t generation) {
  TRY(check_address(connections_.services, from, host, to));
  return connections_.homes.moved(from.host, tuple, to, host, service, generation);
}

Result<int> RequestHandler::query_holder(const AuthenticatedHost& from, const FourTuple& tuple,
                                         const std::string& service,
                                         const SocketAddress& control_address,
                                         std::uint64_t generation, bool routed) {
  TRY(check_address(connections_.services, from, from.host, control_address.ip));
  TRY_LET(answer, connections_.homes.query_holder(from.host, tuple, service, control_address,
                                                  generation, routed));
  return answer == 1 && importer_.unheard_peers().is_overdue(tuple) ? 2 : answer;
}

Result<> RequestHandler::ended(const AuthenticatedHost& from, const FourTuple& tuple,
                               std::uint64_t generation) {
  return connections_.homes.ended(from.host, tuple, generation);
}

}  // namespace sockmi::daemon
