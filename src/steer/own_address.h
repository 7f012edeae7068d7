// Which of this host's addresses other hosts are told.
#pragma once

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

// The address of the other family on the interface that has `ours`: one that stays. any(): there is none. What is for one link only, for some
// time only (RFC 8981; or a lifetime that ends soon), not wanted for new connections or not known to be ours alone yet, is never told.
Result<IpAddress> address_beside(const IpAddress& ours);

}  // namespace sockmi::steer
