// The SO_MARK of a frozen socket: our rules drop everything that such a socket sends.
// Every process that has its descriptor can read the mark.
#pragma once

#include <cstdint>

namespace sockmi {

inline constexpr std::uint32_t kFreezeMark = 0x736b0001;

}  // namespace sockmi
