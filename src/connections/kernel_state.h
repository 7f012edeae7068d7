// Watches what others do to the kernel's state that is ours, and mends it at once.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

struct KernelState {
  std::uint64_t count = 0;
  std::string last;   // what was put back then
  std::string error;  // of the last attempt, while it is not mended
};

asio::awaitable<void> keep_up(World& world, KernelState& repairs);

}  // namespace sockmi::daemon
