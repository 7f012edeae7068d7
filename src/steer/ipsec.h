// Connections that the kernel's IPsec encrypts.
#pragma once

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

// ENOTSUP: a policy of this host's applies to the packets of this connection. On the wire they have no ports then, and another host has not the keys.
Result<> check_ipsec(const FourTuple& tuple);

}  // namespace sockmi::steer
