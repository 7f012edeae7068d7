// Converts addresses and connections to keys and data of nftables sets, and back. All
// parts are in network byte order, and each part is padded to four bytes.
#pragma once

#include "base/address.h"

namespace sockmi::steer {

// In the order of the peer's packets: (peer's address, peer's port, our address, our
// port).
Bytes key_of(const FourTuple& tuple);
Bytes key_of(const SocketAddress& address);
FourTuple tuple_of(ByteView key);
SocketAddress address_of(ByteView key);
Bytes bytes_of(const IpAddress& ip);  // 4 or 16 bytes

inline bool is_v4(const IpAddress& ip) {
  return ip.unmapped().family == AF_INET;
}

}  // namespace sockmi::steer
