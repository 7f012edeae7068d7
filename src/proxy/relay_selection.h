// Which relays an order to export is for.
#pragma once

#include <sockmi/sockmi.h>

#include "proxy/relay_runner.h"

namespace sockmi::proxy {

// A pattern of addresses and ports, as the library has it.
struct AddressMatch {
  IpAddress network;  // any(): every address
  unsigned bits = 0;
  std::uint16_t port = 0;  // 0: every port

  static AddressMatch from(const sockmi_match& match);
  bool fits(const SocketAddress& address) const;
  bool fits_all() const { return network.any() && port == 0; }
};

struct RelaySelection {
  std::string listener, service;
  AddressMatch local, peer;

  // Whether it names one connection, as a drain does: one that is a relay already.
  bool is_for_one() const { return peer.port != 0; }
  // Whether the relay is of this listener and service, and one of its connections fits.
  bool has(RelayRunner& relay) const;
};

}  // namespace sockmi::proxy
