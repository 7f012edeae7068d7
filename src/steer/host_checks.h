// Finds settings of this host, not made by us, that keep moved connections from working.
#pragma once

#include <string>
#include <vector>

namespace sockmi::steer {

// Returns one line for each problem, for the log and for /v1/status: what is set, what
// breaks because of it, and what would help. Changes nothing: these are the host's own
// rules.
std::vector<std::string> warnings(const std::vector<std::string>& interfaces);

}  // namespace sockmi::steer
