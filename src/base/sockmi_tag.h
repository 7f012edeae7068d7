// A number that marks as ours what the kernel knows by numbers only.
#pragma once

#include <cstdint>

namespace sockmi {

// 29547, "sk" in ASCII. Our routing table, the priority of our routing rules, the value
// that we write into rcu_expedited; and the upper half of all our marks.
inline constexpr std::uint32_t kSockmiTag = 0x736b;

}  // namespace sockmi
