// What an earlier daemon left in the kernel, taken over or replaced.
#pragma once

#include <string>

#include "steer/netlink.h"

namespace sockmi::steer {

// The commands for nft that make our tables those of `wanted` (nft's own words for them), in one transaction; empty if they are already.
Result<std::string> change_to(Netlink& netfilter, const std::string& wanted);

}  // namespace sockmi::steer
