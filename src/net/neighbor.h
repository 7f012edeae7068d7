// Announces an address to the neighbors on an interface's link, and probes whether
// another host has an address. Uses ARP for IPv4 (RFC 826, 5227) and neighbor discovery
// for IPv6 (RFC 4861). Both require CAP_NET_RAW.
#pragma once

#include <array>
#include <cstdint>

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::net {

// Announces that `address` is now at this host, to neighbors that have an entry for it.
// Sends a gratuitous ARP request and a reply (some systems accept only one of the two),
// or an unsolicited neighbor advertisement. These are not acknowledged, so call it
// repeatedly. The address must be assigned to the interface.
Result<> announce(const IpAddress& address, unsigned interface);

// Detects whether another host on the link has the address. The address may be assigned
// here at the same time.
class Probe {
 public:
  static Result<Probe> open(const IpAddress& address, unsigned interface);
  Result<> ask();                           // sends one probe; repeat it, packets get lost
  int fd() const { return socket_.get(); }  // readable when heard() has packets to read
  bool heard();

 private:
  Probe(const IpAddress& address, unsigned interface) : address_(address), interface_(interface) {}
  IpAddress address_;
  unsigned interface_;
  std::array<std::uint8_t, 6> ours_{};  // our link-layer address
  unique_fd socket_;
};

}  // namespace sockmi::net
