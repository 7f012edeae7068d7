#include "broker/claims.h"

#include <algorithm>

namespace sockmi::broker {

Result<> check_address(const World& world, const peer::Speaker& from, const std::string& host, const IpAddress& to) {
  if (host == from.host && to == from.address) return {};
  const auto peers = world.negotiation ? world.negotiation->peers() : std::vector<peer::PeerInfo>();
  const auto known = std::ranges::find(peers, host, &peer::PeerInfo::host);
  // Whoever asks again is answered when that host has been heard.
  if (known == peers.end()) return fail(EHOSTUNREACH, "host '{}' is not known here", host);
  if (!to.any() && (to == known->line.ip || to == known->other_address)) return {};
  return fail(EACCES, "{} is no address of {}", to_string(to), host);
}

}  // namespace sockmi::broker
