// Delivers packets for another host's address locally: packets that our rules have marked
// are routed to this host by a routing table of our own.
#pragma once

#include <string>
#include <vector>

#include "base/sockmi_tag.h"
#include "net/netlink.h"

namespace sockmi::steer {

inline constexpr std::uint32_t kDeliveryTable = kSockmiTag;  // T, our own table

// Adds, for IPv4 and IPv6: "ip rule iif X fwmark DELIVER lookup T" for each interface X,
// "ip rule iif lo fwmark INJECT lookup T", and "ip route local default dev lo table T".
// Keeps those of an earlier daemon. Returns the number of rules and routes that were
// missing. (Without the mark, or with a local route for the address itself, this host
// would answer ARP requests for the address.)
Result<unsigned> add_delivery_route(net::Netlink& route,
                                    const std::vector<std::string>& interfaces);
Result<> remove_delivery_route(net::Netlink& route);

}  // namespace sockmi::steer
