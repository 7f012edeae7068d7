// Looks up the path that a connection's packets take.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {
class Netlink;
}

namespace sockmi::steer {

struct Route {
  bool local = false;  // the address is one of this host's
  unsigned interface = 0;
  bool by_router = false;  // false: the address is on the link of the interface
  unsigned mtu = 0;        // bytes; the path's if known, at most the interface's
};

// The properties of a socket that select its packets' route. 0 and none: the property has
// no influence.
struct Sender {
  IpAddress address;
  std::uint32_t mark = 0;
  unsigned interface = 0;
};
// Returns the route by which the kernel would send a packet of such a socket to `host`
// now. Errors: ENETUNREACH if there is no route.
Result<Route> route_to(net::Netlink& route, const IpAddress& host, const Sender& sender);
// Returns whether an interface is one of `interfaces`, or has one of them below it: a
// port of a bridge, a member of a bond.
Result<bool> is_listed(net::Netlink& route, unsigned interface,
                       const std::vector<std::string>& interfaces);

}  // namespace sockmi::steer
