// Detects connections that the kernel's IPsec encrypts.
#pragma once

#include <linux/xfrm.h>

#include <span>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

class Netlink;

// A policy that transforms packets.
struct IpsecPolicy {
  xfrm_selector selector;
  bool out = false;  // for packets that this host sends; else for packets that it receives
};
Result<std::vector<IpsecPolicy>> ipsec_policies(Netlink& xfrm);

// Checks that none of this host's `policies` applies to the connection. Errors: ENOTSUP
// if one does: then its packets have no ports on the wire, and another host does not have
// the keys.
Result<> check_ipsec(std::span<const IpsecPolicy> policies, const FourTuple& connection);

}  // namespace sockmi::net
