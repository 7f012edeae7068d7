// Creates the two tables "netdev sockmi" and "inet sockmi". They are created once, and
// are readable with nft(8). Later changes concern only the elements of their maps and
// sets.
#pragma once

#include <sys/types.h>

#include <vector>

#include "net/netlink.h"
#include "steer/set_names.h"

namespace sockmi::steer {

// Creates our tables. If an earlier daemon has left tables, they are changed to ours and
// keep the elements of their maps and sets: see nft_upgrade.cc. `daemon`: see
// make_nft_steering(). `force`: changes them even if they seem to be like ours already.
Result<> create_tables(net::Netlink& netfilter, const std::vector<Link>& links, ino_t daemon,
                       bool force = false);
Result<> remove_tables();

}  // namespace sockmi::steer
