// Reads sockmictl's command line, and does what it says.
#pragma once

namespace sockmi::sockmictl {

// Returns the exit code: 0 success, 1 the request was refused or failed, 2 wrong usage, 3
// the deadline of a drain has passed.
int run(int argc, const char* const* argv);

}  // namespace sockmi::sockmictl
