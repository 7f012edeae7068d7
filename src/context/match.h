// A pattern of addresses and ports.
#pragma once

#include <cstdint>
#include <string>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::daemon {

struct Match {
  IpAddress ip;         // any(): every address
  unsigned prefix = 0;  // bits
  std::uint16_t port = 0;
  // Accepts "" (everything), ADDRESS:PORT, ADDRESS, and ADDRESS/PREFIX.
  static Result<Match> parse(const std::string& text);
  bool fits(const SocketAddress& address) const;
};

}  // namespace sockmi::daemon
