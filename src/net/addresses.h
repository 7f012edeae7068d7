// The addresses of this host's interfaces, and the connections at one of them, as the kernel has them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

struct HostAddress {
  IpAddress ip;
  unsigned prefix = 0;  // bits
  unsigned interface = 0;
  bool deprecated = false;  // the kernel does not choose it for new connections (ip-address(8), preferred_lft 0)
  bool secondary = false;   // IPv4: goes with the primary address of its subnet, where promote_secondaries is off
  bool loopback = false;
};

class Netlink;
Result<std::vector<HostAddress>> host_addresses();                // of this thread's network namespace
Result<std::vector<HostAddress>> host_addresses(Netlink& route);  // of the one where that was opened

// Without `lifetime` for good; else the kernel itself takes the address away after it. One that is there gets the new lifetime. No
// duplicate address detection: the old holder may still have it.
Result<> add_address(const HostAddress& address, std::optional<std::chrono::seconds> lifetime);
Result<> remove_address(const HostAddress& address);  // no error if it is not there

}  // namespace sockmi::net
