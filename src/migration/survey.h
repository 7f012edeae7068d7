// What the kernel is asked about the endpoints of a batch, at one moment.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>

#include "steer/kernel_queries.h"

namespace sockmi::daemon {

struct Survey {
  std::map<IpAddress, steer::KernelQueries> at;  // by the local address, which tells where: see NamespacedSteering::within()
  std::map<ino_t, steer::KernelQueries> in;      // by the network namespace of the socket
  std::optional<ino_t> own;                  // the daemon's
};

}  // namespace sockmi::daemon
