// Who is at the other end of a local connection, as the kernel says.
#pragma once

#include "base/user.h"

namespace sockmi::api {

// The one who connected: a descriptor that was inherited, or passed on, speaks for whoever opened it. A user other than root comes without a name. Uid 0
// is root only from the daemon's own process and user namespaces: a container's root has a number of ours, but not our trust.
User caller_of(int socket);

}  // namespace sockmi::api
