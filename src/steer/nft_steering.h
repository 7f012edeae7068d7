// Creates the Steering that uses nftables, and removes what one has left.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "steer/steering.h"

namespace sockmi::steer {

// Creates the implementation. It uses the tables "netdev sockmi" and "inet sockmi", a
// routing rule and a routing table, all of our own. They are set up here, and are removed
// with the object or kept (see keep()). `interfaces` are those by which the peers'
// packets come in. What an earlier daemon left is taken over: its redirects and foreign
// addresses stay in force, even if its rules differ from ours and are replaced. `daemon`:
// the network namespace in which the daemon lives, if it is not this one; the tables
// carry its number.
Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces,
                                                    ino_t daemon = 0);

// Removes everything that a dead daemon left in this network namespace. Errors:
// EADDRINUSE if a daemon is alive.
Result<> flush();

}  // namespace sockmi::steer
