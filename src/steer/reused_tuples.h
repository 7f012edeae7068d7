// What a SYN ends: the redirect of a connection that has ended and had the same addresses and ports.
#pragma once

#include <vector>

#include "steer/nft_rules.h"
#include "steer/nft_tables.h"

namespace sockmi::steer {

// Of the chains begun4 and begun6 of table "netdev sockmi", which only SYN packets enter. (nft 1.0.6 dies of the IPv6 rule's text.)
std::vector<Rule> begun_rules(const std::vector<Segment>& segments);

}  // namespace sockmi::steer
