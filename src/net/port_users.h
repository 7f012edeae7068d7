// Finds the sockets of this network namespace that listen at a port, or are bound to it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

struct PortUser {
  std::uint64_t cookie = 0;
  SocketAddress local;
  std::uint32_t uid = 0;
};

// Covers both address families. Sockets that are only bound are reported by Linux 6.8 and
// later.
Result<std::vector<PortUser>> users_of_port(std::uint16_t port);

}  // namespace sockmi::net
