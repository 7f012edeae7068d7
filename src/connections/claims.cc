#include "connections/claims.h"

#include <algorithm>

namespace sockmi::daemon {
namespace {

constexpr std::size_t kMostByWord = 262144;  // redirects that were set up on other hosts' claims

}  // namespace

Result<> check_address(const Services& services, const cluster::AuthenticatedHost& from,
                       const std::string& host, const IpAddress& to) {
  if (host == from.host && to == from.address) return {};
  const auto hosts =
      services.discovery ? services.discovery->hosts() : std::vector<cluster::HostInfo>();
  const auto known = std::ranges::find(hosts, host, &cluster::HostInfo::host);
  // Temporary: a repeated request succeeds as soon as that host has been discovered.
  if (known == hosts.end()) return fail(EHOSTUNREACH, "host '{}' is not known here", host);
  if (to == known->control_address.ip || (to == known->other_address && !to.any())) return {};
  return fail(EACCES, "address {} does not belong to {}", to_string(to), host);
}

Result<> check_room(const ConnectionTable& table) {
  if (table.remote().size() >= kMostByWord) {
    return fail(ENOBUFS, "cannot redirect another connection: {} live elsewhere already",
                table.remote().size());
  }
  return {};
}

Result<> check_claim(const Services& services, const ConnectionTable& table,
                     const std::string& from, const FourTuple& tuple, const IpAddress& to) {
  if (is_passive(tuple)) return fail(EACCES, "invalid claim of {}: a port, not a connection", from);
  if (to.family != tuple.local.ip.unmapped().family)
    return fail(EACCES, "address {} is of another family than {}", to_string(to), to_string(tuple));
  TRY(check_room(table));
  const IpAddress* found = table.unexplained_redirect(tuple);
  if ((found && *found == to) || services.settings.believe_holders) return {};
  return fail(EACCES, "host {} has no record that {} moved", services.settings.host,
              to_string(tuple));
}

const RemoteConnection* accepted_there(const Services& services, const ConnectionTable& table,
                                       const std::string& from, const FourTuple& tuple) {
  for (const auto& [listener, away] : table.remote()) {
    if (is_passive(listener) && away.host == from && away.home == services.settings.host &&
        listener.local.port == tuple.local.port &&
        (listener.local.ip.wildcard() || listener.local.ip.unmapped() == tuple.local.ip.unmapped()))
      return &away;
  }
  return nullptr;
}

Result<> may_return(const Services& services, const ConnectionTable& table, const std::string& from,
                    const FourTuple& tuple) {
  if (table.find_remote(tuple) || accepted_there(services, table, from, tuple) ||
      services.settings.believe_holders)
    return {};
  if (const IpAddress* found = table.unexplained_redirect(tuple); found && services.discovery) {
    const auto hosts = services.discovery->hosts();
    const auto sender = std::ranges::find(hosts, from, &cluster::HostInfo::host);
    if (sender != hosts.end() &&
        (*found == sender->control_address.ip || *found == sender->other_address))
      return {};
  }
  return fail(EACCES, "host {} has no record that {} moved", services.settings.host,
              to_string(tuple));
}

}  // namespace sockmi::daemon
