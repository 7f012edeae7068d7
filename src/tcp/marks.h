// The marks by which steer's rules recognize packets.
#pragma once

#include <cstdint>

namespace sockmi::tcp {

// `freeze`: SO_MARK of a frozen socket; everything it sends is dropped. `inject`: SO_MARK
// of segments that this daemon injects (inject.h).
struct Marks {
  std::uint32_t freeze, inject;
};

}  // namespace sockmi::tcp
