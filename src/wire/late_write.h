// The LateWrite message for sockets to which nothing more was done: one message for many of
// them. For a socket to which something was done, see pack_late_write() in control_messages.h.
#pragma once

#include "wire/control_messages.h"

namespace sockmi::wire {

Secret pack_late_write(std::span<const MigrationId> untouched);

}  // namespace sockmi::wire
