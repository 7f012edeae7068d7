// Fault points: named places where a test can make a step fail once, or the process die or stand still. Costs one relaxed load when nothing is armed.
#pragma once

#include <string_view>

#include "base/error.h"

namespace sockmi::fault {

// Arms `name`: the next `count` passes of point(name) fail. Only a daemon with `testing = true` lets anyone call this.
// "NAME=kill" is SIGKILL, at the first pass, and "NAME=stop" SIGSTOP, once.
void arm(std::string_view name, unsigned count = 1);
void disarm_all();

// Fails with EIO "fault point NAME" if armed, and uses up one of the armed count.
Result<> point(std::string_view name);

}  // namespace sockmi::fault
