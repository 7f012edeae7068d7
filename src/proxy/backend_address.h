// Where a backend is, as the configuration says it: an address, or a name with a port.
#pragma once

#include "proxy/stream_address.h"

namespace sockmi::proxy {

struct BackendAddress {
  StreamAddress fixed;
  std::string host;  // empty: `fixed` counts
  std::uint16_t port = 0;

  // As StreamAddress, or app.example.org:80.
  static Result<BackendAddress> parse(std::string_view text);
  bool is_name() const { return !host.empty(); }
  bool is_missing() const { return !is_name() && fixed.family() == AF_UNSPEC; }
  bool operator==(const BackendAddress&) const = default;
};

std::string to_string(const BackendAddress& address);

}  // namespace sockmi::proxy
