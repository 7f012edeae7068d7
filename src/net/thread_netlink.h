// Netlink sockets of this thread for short queries, because opening and closing a socket
// takes several times as long as an answer. Each socket belongs to one network namespace,
// and is used only there.
//
// This matters most for netfilter sockets: when one is closed, the kernel waits until
// what nft has removed is gone, which takes a grace period (some 10 ms).
#pragma once

#include "net/netlink.h"

namespace sockmi::net {

// Returns the thread's socket for `bus`. Must not be used for a query while the answer to
// another one is being read.
Result<Netlink*> thread_netlink(int bus);

}  // namespace sockmi::net
