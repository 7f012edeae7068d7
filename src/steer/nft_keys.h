// How addresses and connections are written as keys and data of nftables sets: network order, each part padded to four bytes.
#pragma once

#include "base/address.h"

namespace sockmi::steer {

// As the packets of the peer have it: (peer, its port, our address, our port).
Bytes key_of(const FourTuple& tuple);
Bytes key_of(const SocketAddress& address);
FourTuple tuple_of(ByteView key);
SocketAddress address_of(ByteView key);
Bytes bytes_of(const IpAddress& ip);  // 4 or 16

inline bool is_v4(const IpAddress& ip) { return ip.unmapped().family == AF_INET; }

}  // namespace sockmi::steer
