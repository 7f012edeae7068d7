// The SO_MARK of a frozen socket: our rules drop everything that such a socket sends.
// Every process that has its descriptor can read the mark.
#pragma once

#include <cstdint>

#include "base/sockmi_tag.h"

namespace sockmi {

inline constexpr std::uint32_t kFreezeMark = kSockmiTag << 16 | 1;

}  // namespace sockmi
