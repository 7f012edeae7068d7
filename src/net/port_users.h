// Who listens at, or is bound to, a port of this network namespace.
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

// Of both families. Those only bound are shown from Linux 6.8 on.
Result<std::vector<PortUser>> users_of_port(std::uint16_t port);

}  // namespace sockmi::net
