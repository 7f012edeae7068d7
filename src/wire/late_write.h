// The word that nothing more was done to any of these sockets: one message for many of them. What was done to one is said of that one alone (pack_rest()
// of endpoint.h).
#pragma once

#include "wire/control_messages.h"

namespace sockmi::wire {

Secret pack_rest(std::span<const MigrationId> untouched);

}  // namespace sockmi::wire
