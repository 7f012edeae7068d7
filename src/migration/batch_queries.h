// What the kernel is asked about the endpoints of a batch, at one moment.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>

#include "steer/kernel_queries.h"

namespace sockmi::daemon {

struct BatchQueries {
  // By local address, which determines the namespace: see NamespacedSteering::within().
  std::map<IpAddress, steer::KernelQueries> at;
  std::map<ino_t, steer::KernelQueries> in;  // by the socket's network namespace
  std::optional<ino_t> own;                  // the daemon's
};

}  // namespace sockmi::daemon
