// Lets packets for another host's address in: those marked by our rules are routed to this host, by a routing table of our own.
#pragma once

#include <string>
#include <vector>

#include "net/netlink.h"

namespace sockmi::steer {

inline constexpr std::uint32_t kDeliveryTable = 29547;  // T, our own

// IPv4 and IPv6: "ip rule iif X fwmark DELIVER lookup T" for each interface, "ip rule iif lo fwmark INJECT lookup T", and "ip route local
// default dev lo table T". Those of an earlier daemon are kept. (Without the mark, or with a local route for the address itself, this
// host would answer ARP for it.)
// How many of them were missing.
Result<unsigned> add_delivery_route(net::Netlink& route, const std::vector<std::string>& interfaces);
Result<> remove_delivery_route(net::Netlink& route);

}  // namespace sockmi::steer
