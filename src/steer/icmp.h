#pragma once

#include "steer/rules.h"
#include "steer/tables.h"

namespace sockmi::steer {

// What home does with ICMP errors about moved connections: rules for the chains icmp4 and icmp6 of table netdev sockmi.
std::vector<Rule> icmp_rules(const std::vector<Segment>& segments);

}  // namespace sockmi::steer
