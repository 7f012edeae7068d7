// Maintains the journal while the daemon runs: writes again what a full disk did not
// take, and replaces a file that has grown.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

asio::awaitable<void> keep_journal(World& world);

}  // namespace sockmi::daemon
