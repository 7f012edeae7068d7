// What holds in the moment in which our tables are gone: see last_guard.cc.
#pragma once

#include "base/address.h"
#include "steer/nft_sets.h"

namespace sockmi::steer {

// Of one address family; keys as those of redirects.
struct GuardSets {
  SetName moved;  // connections that live elsewhere for good
  SetName ports;  // of listeners that do
  SetName stay;   // their connections that live here
};
extern const GuardSets kGuard4, kGuard6;
inline const GuardSets& guard_of(const IpAddress& ip) { return ip.unmapped().family == AF_INET ? kGuard4 : kGuard6; }

// Makes the table; it goes with `netlink`. One that somebody else has left is replaced. EOPNOTSUPP: a kernel before 5.12.
Result<> make_last_guard(net::Netlink& netlink);

}  // namespace sockmi::steer
