// An IP address, and an address with a port. Both are values that can be compared and
// printed. Ports are in host byte order.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi {

struct IpAddress {
  int family = AF_UNSPEC;  // AF_INET, AF_INET6, or AF_UNSPEC: none, or any
  // In network byte order; only the first size() bytes count.
  std::array<std::uint8_t, 16> bytes{};

  static Result<IpAddress> parse(std::string_view text);
  static Result<IpAddress> from_bytes(ByteView bytes);  // 4 or 16 bytes
  std::size_t size() const { return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0; }
  ByteView view() const { return {bytes.data(), size()}; }
  bool any() const { return family == AF_UNSPEC; }
  bool wildcard() const { return !any() && bytes == decltype(bytes){}; }  // 0.0.0.0, ::
  // Returns the IPv4 address contained in a v4-mapped IPv6 address; returns any other
  // address unchanged.
  IpAddress unmapped() const;
  bool in_prefix(const IpAddress& network, unsigned bits) const;
  auto operator<=>(const IpAddress&) const = default;
};

struct SocketAddress {
  IpAddress ip;
  std::uint16_t port = 0;

  static Result<SocketAddress> parse(std::string_view text);  // 10.0.0.1:80, [fd00::1]:80
  static SocketAddress from(const sockaddr* address);
  socklen_t to(sockaddr_storage& out) const;  // returns the size used
  auto operator<=>(const SocketAddress&) const = default;
};

// A TCP connection from the point of view of its endpoint.
struct FourTuple {
  SocketAddress local, remote;
  FourTuple unmapped() const {
    return {{local.ip.unmapped(), local.port}, {remote.ip.unmapped(), remote.port}};
  }
  auto operator<=>(const FourTuple&) const = default;
};

std::string to_string(const IpAddress& ip);
std::string to_string(const SocketAddress& address);
std::string to_string(const FourTuple& tuple);  // local<-remote

}  // namespace sockmi
