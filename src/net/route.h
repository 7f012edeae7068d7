// Finds the next hop to another host: the interface, and the router if there is one.
#pragma once

#include "base/address.h"
#include "net/netlink.h"

namespace sockmi::net {

struct NextHop {
  unsigned interface = 0;
  IpAddress gateway;  // none: the host is on a link of ours
  bool routed() const { return !gateway.any(); }
  bool operator==(const NextHop&) const = default;
};

// Returns the next hop by which the kernel would send a packet of ours to `host` now.
// Errors: ENOTSUP if the host is this one, or if an IPv4 host is reached through an IPv6
// router.
Result<NextHop> next_hop_to(Netlink& route, const IpAddress& host);

}  // namespace sockmi::net
