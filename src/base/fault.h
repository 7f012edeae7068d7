// Fault points: named places at which a test can make a step fail, or kill or stop the
// process. Costs one relaxed load when nothing is armed.
#pragma once

#include <string_view>

#include "base/error.h"

namespace sockmi::fault {

// Arms `name`: the next `count` calls of point(name) fail. "NAME=kill" raises SIGKILL at
// the first call; "NAME=stop" raises SIGSTOP once. Callable by clients only in a daemon
// with `testing = true`.
void arm(std::string_view name, unsigned count = 1);

// Returns EIO with "fault point NAME" if `name` is armed, and decrements its count.
Result<> point(std::string_view name);

}  // namespace sockmi::fault
