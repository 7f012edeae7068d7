// Lists, adds and removes the addresses of this host's interfaces.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

constexpr std::uint32_t kInfiniteLifetime = 0xffffffff;  // of an address, in struct ifa_cacheinfo

struct HostAddress {
  IpAddress ip;
  unsigned prefix = 0;  // bits
  unsigned interface = 0;
  // The kernel does not choose it for new connections (ip-address(8), preferred_lft 0).
  bool deprecated = false;
  // IPv4: removed together with the primary address of its subnet if promote_secondaries
  // is off.
  bool secondary = false;
  bool loopback = false;
};

class Netlink;
// Returns those of this thread's network namespace.
Result<std::vector<HostAddress>> host_addresses();
// Returns those of the network namespace in which `route` was opened.
Result<std::vector<HostAddress>> host_addresses(Netlink& route);

// Adds an address, or sets the lifetime of one that exists. After `lifetime` the kernel
// itself removes the address; without `lifetime` it is permanent. Skips duplicate address
// detection, because the old holder may still have the address.
Result<> add_address(const HostAddress& address, std::optional<std::chrono::seconds> lifetime);
Result<> remove_address(const HostAddress& address);  // no error if it does not exist

}  // namespace sockmi::net
