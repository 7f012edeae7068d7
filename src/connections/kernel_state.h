// Watches the kernel state that this daemon has set up, and immediately repairs what
// others change.
#pragma once

#include "connections/connections.h"

namespace sockmi::daemon {

struct KernelState {
  std::uint64_t count = 0;
  std::string last;   // what the last repair put back
  std::string error;  // of the last attempt; "" when everything is repaired
};

asio::awaitable<void> keep_up(Connections& connections, KernelState& repairs);

}  // namespace sockmi::daemon
