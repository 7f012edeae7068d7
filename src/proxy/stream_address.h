// The address of a listener or backend: an IP address with a port, or a Unix socket. A
// listener may also have sockets that systemd has opened.
#pragma once

#include <string>
#include <string_view>

#include "base/address.h"

namespace sockmi::proxy {

struct StreamAddress {
  SocketAddress ip;
  std::string path;  // of a Unix socket; empty: `ip` counts
  // The name of sockets of systemd; empty: none. With a name the address is not known.
  std::string activated = {};

  // 10.0.0.1:80, [fd00::1]:80, unix:/run/app.sock, systemd:NAME
  static Result<StreamAddress> parse(std::string_view text);
  socklen_t to(sockaddr_storage& out) const;  // returns the size used
  int family() const { return path.empty() ? ip.ip.family : AF_UNIX; }
  auto operator<=>(const StreamAddress&) const = default;
};

std::string to_string(const StreamAddress& address);

}  // namespace sockmi::proxy
