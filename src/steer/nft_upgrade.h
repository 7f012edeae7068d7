// What an earlier daemon left in the kernel, taken over or replaced.
#pragma once

#include <sys/types.h>

#include <string>

#include "net/netlink.h"

namespace sockmi::steer {

// The commands for nft that make our tables those of `wanted` (nft's own words for them), in one transaction; empty if they are already.
// `anew`: they may have lost rules, so what they say of themselves does not count.
Result<std::string> change_to(net::Netlink& netfilter, const std::string& wanted, bool anew);

// The rules of our tables by the kernel's numbers for them: it is another when one of them has been taken away or made anew.
Result<std::string> fingerprint(net::Netlink& netfilter);

// The name of the empty chain that tables have that are served from another network namespace, the daemon's: see namespace_search.h.
std::string mark_of_service(ino_t daemon);
Result<bool> has_chain(net::Netlink& netfilter, const std::string& name);  // in tables of ours

}  // namespace sockmi::steer
