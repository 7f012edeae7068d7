// What on this host, and not of our making, keeps moved connections from working.
#pragma once

#include <string>
#include <vector>

namespace sockmi::steer {

// One line each, for the log and for /v1/status: what is set, what breaks by it, what would help. We change nothing: these are the host's rules.
std::vector<std::string> warnings(const std::vector<std::string>& interfaces);

}  // namespace sockmi::steer
