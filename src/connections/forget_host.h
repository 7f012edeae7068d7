// Gives up a host that will never come back. Otherwise everything that waits for its
// answer would wait forever.
#pragma once

#include "connections/connections.h"

namespace sockmi::daemon {

struct Forgotten {
  std::size_t pending_ends = 0;  // its own connections that ended here, not reported yet
  std::size_t forwarded = 0;     // its own connections that moved on from here, not reported yet
  // Our connections that it held. Their redirects end, and their peers notice it when
  // they send the next packet.
  std::size_t held = 0;
};

Forgotten forget_host(Connections& connections, const std::string& host);

}  // namespace sockmi::daemon
