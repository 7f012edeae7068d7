// The marks by which our rules recognize packets.
#pragma once

#include <cstdint>

#include "base/freeze_mark.h"
#include "base/sockmi_tag.h"

namespace sockmi::steer {

using sockmi::kFreezeMark;
// Packet mark: deliver to a socket here, although the address is another host's.
inline constexpr std::uint32_t kDeliverMark = kSockmiTag << 16 | 2;
// Packet mark: a segment that we inject for a socket here (it passes the freeze).
inline constexpr std::uint32_t kInjectMark = kSockmiTag << 16 | 3;
// Packet mark: a packet of a connection that is returning home.
inline constexpr std::uint32_t kReturningMark = kSockmiTag << 16 | 4;

}  // namespace sockmi::steer
