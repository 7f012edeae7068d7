// Identifies the user at the other end of a local connection, as reported by the kernel.
#pragma once

#include "base/user.h"

namespace sockmi::api {

// Returns the user that opened the connection, even if the descriptor was inherited or
// passed on since. A user other than root comes without a name. Uid 0 counts as root only
// in the daemon's own process and user namespaces: root of a container has the same
// number, but is not trusted.
User caller_of(int socket);

}  // namespace sockmi::api
