// What steer's rules know packets by.
#pragma once

#include <cstdint>

namespace sockmi::tcp {

// `freeze` is the SO_MARK of a mute socket: whatever it sends is dropped. `inject` is that of segments that we put in ourselves (inject.h).
struct Marks {
  std::uint32_t freeze, inject;
};

}  // namespace sockmi::tcp
