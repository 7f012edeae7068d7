// Whether secrets lie in memory that may be swapped: RLIMIT_MEMLOCK was too small for them.
#pragma once

#include <cstddef>

namespace sockmi {

std::size_t unlocked_secret_bytes();  // of this process, since its start

}  // namespace sockmi
