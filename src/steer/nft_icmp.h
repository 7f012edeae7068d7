#pragma once

#include "steer/nft_rules.h"
#include "steer/nft_tables.h"

namespace sockmi::steer {

// What is done with ICMP errors about moved connections: at home (chains icmp4 and icmp6 of table netdev sockmi) and on the importer (chains
// quoted4 and quoted6 of table inet sockmi).
std::vector<Rule> icmp_rules(const std::vector<Segment>& segments);

}  // namespace sockmi::steer
