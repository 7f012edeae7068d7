// The SO_MARK of a frozen socket: all that it sends is dropped. Whoever has its descriptor can see it.
#pragma once

#include <cstdint>

namespace sockmi {

inline constexpr std::uint32_t kFreezeMark = 0x736b0001;

}  // namespace sockmi
