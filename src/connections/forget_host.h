// A host that never comes back: whatever waits for its word would wait for ever.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

struct Forgotten {
  std::size_t untold = 0;     // connections of its own that ended here, which it was to hear of
  std::size_t forwarded = 0;  // that went on from here, which it was to hear of
  std::size_t held = 0;       // of ours, that it held: their redirects end, and their peers hear of it when they speak
};

Forgotten forget_host(World& world, const std::string& host);

}  // namespace sockmi::daemon
