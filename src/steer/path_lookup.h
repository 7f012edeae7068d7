// What this host's kernel knows of the way that a connection's packets take, and whether a rule over the wire would meet them.
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

class KernelQueries;

struct Route {
  bool local = false;       // the address is one of this host's
  unsigned interface = 0;
  bool by_router = false;   // else the address is on the segment of the interface
  unsigned mtu = 0;         // bytes; what is known of the path, else the interface's
};

// What of a socket decides about its packets' route; 0 and none: nothing does.
struct Sender {
  IpAddress address;
  std::uint32_t mark = 0;
  unsigned interface = 0;
};
// As the kernel would send a packet of such a socket to `host` now. ENETUNREACH: it would not.
Result<Route> route_to(net::Netlink& route, const IpAddress& host, const Sender& sender);
// Whether an interface is one of `interfaces`, or has one below it that is: a port of a bridge, a part of a bond.
Result<bool> is_listed(net::Netlink& route, unsigned interface, const std::vector<std::string>& interfaces);

// Whether the packets of a connection between us and a host elsewhere are on the wire as its socket has them. ENOTSUP, with the reason: the peer is
// this host; another than `interfaces` leads to it; they are encrypted by the kernel; or their addresses, ports or numbers are translated.
Result<> check_wire(KernelQueries& kernel, int socket, const FourTuple& tuple, const Sender& sender, const std::vector<std::string>& interfaces);

}  // namespace sockmi::steer
