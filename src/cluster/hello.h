// How often each host says that it is there (HELLO).
#pragma once

#include <chrono>

namespace sockmi::cluster {

inline constexpr std::chrono::seconds kHelloInterval{5};
// Within this time every host that is there has been heard, unless two datagrams in a row
// are lost.
inline constexpr std::chrono::seconds kHelloTimeout = 3 * kHelloInterval;

}  // namespace sockmi::cluster
