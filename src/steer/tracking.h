// The connection tracking of the host's own firewall, where it has one.
#pragma once

#include "base/address.h"
#include "steer/netlink.h"

namespace sockmi::steer {

// A connection that was here before and comes back is far beyond what its old entry expects: it would count as invalid, and a firewall drops
// that. So its entry goes, and its first packet out makes a new one. No error if there is none, or no tracking at all.
// EOPNOTSUPP: this kernel tracks connections and has no way to say so.
Result<> forget_tracked(Netlink& netfilter, const FourTuple& tuple);

bool tracks_connections();

}  // namespace sockmi::steer
