// Removes the redirect of an ended connection when a SYN with the same addresses and
// ports begins a new one.
#pragma once

#include <vector>

#include "steer/nft_rules.h"
#include "steer/set_names.h"

namespace sockmi::steer {

// Returns the rules of the chains begun4 and begun6 of table "netdev sockmi". Only SYN
// packets enter these chains. The rules are built here because nft 1.0.6 crashes on the
// text of the IPv6 rule.
std::vector<Rule> begun_rules(const std::vector<Link>& links);

}  // namespace sockmi::steer
