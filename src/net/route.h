// How packets get to another host: over which interface, and by which router.
#pragma once

#include "base/address.h"
#include "net/netlink.h"

namespace sockmi::net {

struct NextHop {
  unsigned interface = 0;
  IpAddress gateway;  // none: the host is on a segment of ours
  bool routed() const { return !gateway.any(); }
  bool operator==(const NextHop&) const = default;
};

// As the kernel would send a packet of ours now. ENOTSUP: the host is this one, or an IPv4 host has an IPv6 router.
Result<NextHop> next_hop_to(Netlink& route, const IpAddress& host);

}  // namespace sockmi::net
