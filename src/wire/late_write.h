// The LateWrite message for sockets to which nothing more was done: one message for many of
// them. For a socket to which something was done, see pack_rest() in control_messages.h.
#pragma once

#include "wire/control_messages.h"

namespace sockmi::wire {

Secret pack_rest(std::span<const MigrationId> untouched);

}  // namespace sockmi::wire
