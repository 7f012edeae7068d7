// Looks after the journal while the daemon runs: writes again what a full disk did not take, and replaces a file that has grown.
#pragma once

#include "broker/world.h"

namespace sockmi::broker {

asio::awaitable<void> keep_journal(World& world);

}  // namespace sockmi::broker
