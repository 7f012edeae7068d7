// Connections that the kernel's IPsec encrypts.
#pragma once

#include <linux/xfrm.h>

#include <span>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

class Netlink;

// One that transforms packets.
struct IpsecPolicy {
  xfrm_selector selector;
  bool out = false;  // else it is for packets that come in
};
Result<std::vector<IpsecPolicy>> ipsec_policies(Netlink& xfrm);

// ENOTSUP: one of this host's `policies` applies to the packets of this connection. On the wire they have no ports then, and another host has not the keys.
Result<> check_ipsec(std::span<const IpsecPolicy> policies, const FourTuple& connection);

}  // namespace sockmi::net
