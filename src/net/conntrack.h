// The connection tracking of the host's own firewall, where it has one.
#pragma once

#include <chrono>

#include "base/address.h"
#include "net/netlink.h"

namespace sockmi::net {

// Makes a connection that has just come here known, as one that has been established for long (or, not `established`, whose SYN is on its way):
// firewalls let it in, and no rule of NAT is asked about it. It takes the place of an entry of an earlier visit, whose numbers are long past. No error
// where nothing is tracked. EOPNOTSUPP: this kernel tracks connections and has no way to tell it of one.
Result<> track(Netlink& netfilter, const FourTuple& tuple, bool established);

// Its entry, if there is one, is left to the last packets: where nobody's firewall asks for it, the kernel would keep it for days.
Result<> untrack(Netlink& netfilter, const FourTuple& tuple, std::chrono::milliseconds linger);

// ENOTSUP: this host changes addresses, ports or sequence numbers of the connection, so that its packets are not as its socket has them.
Result<> check_translation(const FourTuple& tuple);

bool tracks_connections();

}  // namespace sockmi::net
