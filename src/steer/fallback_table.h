// A small table that protects moved connections during the milliseconds in which our
// other tables are missing. See fallback_table.cc.
#pragma once

#include "base/address.h"
#include "steer/nft_sets.h"

namespace sockmi::steer {

// The sets of one address family. Their keys have the layout of the redirects' keys.
struct FallbackSets {
  SetName moved;   // connections that have moved for good (without expiry)
  SetName ports;   // ports of listeners that have moved
  SetName exempt;  // connections to such ports that still live here
};
extern const FallbackSets kFallbackSets4, kFallbackSets6;
inline const FallbackSets& fallback_sets_of(const IpAddress& ip) {
  return ip.unmapped().family == AF_INET ? kFallbackSets4 : kFallbackSets6;
}

// Creates the table. It is owned by the socket of `netlink` and disappears with it.
// Replaces a table of the same name that was left by somebody else. Errors: EOPNOTSUPP on
// a kernel before 5.12.
Result<> create_fallback_table(net::Netlink& netlink);

}  // namespace sockmi::steer
