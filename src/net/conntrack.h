// Registers imported connections in this host's connection tracking, if it tracks
// connections.
#pragma once

#include <chrono>

#include "base/address.h"
#include "net/netlink.h"

namespace sockmi::net {

// Registers a connection that has just arrived. With `established` it looks as if it had
// been established for a long time; otherwise as if our SYN had been sent. From then on
// firewalls let its packets in, and no NAT rule is evaluated for it. Replaces an entry
// that an earlier stay of the connection left, because the sequence numbers in it are
// outdated. Not an error if this host does not track connections. Errors: EOPNOTSUPP if
// the kernel tracks connections but does not accept entries by netlink.
Result<> track(Netlink& netfilter, const FourTuple& tuple, bool established);

// Lets the entry of the connection, if there is one, expire after `linger` (rounded up to
// seconds), so that the last packets still match it. If no firewall uses connection
// tracking, packets do not update the entry, and the kernel would keep it for days.
Result<> untrack(Netlink& netfilter, const FourTuple& tuple, std::chrono::milliseconds linger);

// Checks that the packets of the connection are as its socket has them. Errors: ENOTSUP
// if this host translates its addresses or ports, or changes its sequence numbers.
Result<> check_translation(const FourTuple& tuple);

bool tracks_connections();

}  // namespace sockmi::net
