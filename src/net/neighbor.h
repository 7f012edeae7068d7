// Tells the neighbours on an interface's segment who has an address now, and asks them whether somebody has: ARP for IPv4 (RFC 826, 5227),
// neighbour discovery for IPv6 (RFC 4861). Both want CAP_NET_RAW.
#pragma once

#include <array>
#include <cstdint>

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::net {

// Neighbours that know the address learn that it is here: a gratuitous ARP request and a reply (some systems believe only one of the two), or an
// unsolicited neighbour advertisement. Nobody acknowledges it: repeat it. The address must be on the interface.
Result<> announce(const IpAddress& address, unsigned interface);

// Whether another host on the segment says that it has the address. The address may be here at the same time.
class Probe {
 public:
  static Result<Probe> open(const IpAddress& address, unsigned interface);
  Result<> ask();  // once; repeat it, a packet may be lost
  int fd() const { return socket_.get(); }  // polls readable when heard() has something to look at
  bool heard();

 private:
  Probe(const IpAddress& address, unsigned interface) : address_(address), interface_(interface) {}
  IpAddress address_;
  unsigned interface_;
  std::array<std::uint8_t, 6> ours_{};  // our link-layer address
  unique_fd socket_;
};

}  // namespace sockmi::net
