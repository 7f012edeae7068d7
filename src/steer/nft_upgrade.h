// Takes over, or replaces, the tables that an earlier daemon has left in the kernel.
#pragma once

#include <sys/types.h>

#include <string>

#include "net/netlink.h"

namespace sockmi::steer {

// Returns the nft commands that change our tables to `wanted` (given in nft's language),
// in one transaction. Returns "" if the tables are already the same. `force`: the tables
// may have lost rules, so the chain that names their layout does not count.
Result<std::string> change_to(net::Netlink& netfilter, const std::string& wanted, bool force);

// Returns a list of the rules of our tables, with the handles that the kernel gave them.
// It changes when a rule is removed or replaced.
Result<std::string> fingerprint(net::Netlink& netfilter);

// Returns the name of the empty chain that marks tables served from another network
// namespace, the daemon's: see netns.h.
std::string mark_of_service(ino_t daemon);
// Whether one of our tables has such a chain.
Result<bool> has_chain(net::Netlink& netfilter, const std::string& name);

}  // namespace sockmi::steer
