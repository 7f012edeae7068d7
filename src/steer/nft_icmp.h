// Builds the rules that forward ICMP errors about moved connections.
#pragma once

#include "steer/nft_rules.h"
#include "steer/set_names.h"

namespace sockmi::steer {

// Returns the rules for ICMP errors about moved connections: those at home (chains icmp4
// and icmp6 of table netdev sockmi) and those on the importer (chains quoted4 and quoted6
// of table inet sockmi).
std::vector<Rule> icmp_rules(const std::vector<Link>& links);

}  // namespace sockmi::steer
