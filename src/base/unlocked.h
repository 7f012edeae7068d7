// Reports whether secrets are in memory that may be swapped out, because RLIMIT_MEMLOCK
// was too small.
#pragma once

#include <cstddef>

namespace sockmi {

std::size_t unlocked_secret_bytes();  // in this process, since its start

}  // namespace sockmi
