// Sockets of this thread for short questions, of which many may be asked: to open and close one takes several times as long as an answer. Each belongs to
// a network namespace, and is used there only.
//
// This helps those for netfilter above all: when one is closed, the kernel waits until what nft has removed is gone, and that for a grace period (some 10 ms).
#pragma once

#include "net/netlink.h"

namespace sockmi::net {

// Not for questions that are asked while another one's answer is read.
Result<Netlink*> thread_netlink(int bus);

}  // namespace sockmi::net
