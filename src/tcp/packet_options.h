// What a socket says of its packets that another host, or the peer, has to agree with.
#pragma once

#include "tcp/socket_info.h"

namespace sockmi::tcp {

struct Wire {
  unsigned largest = 0;     // bytes of the largest packets that the peer may send; 0: no peer
  unsigned device = 0;      // the interface that the socket is bound to, if it is
  std::uint32_t mark = 0;   // SO_MARK
  bool near = false;        // the peer may insist that no router is in between (RFC 5082)
};

// ENOTSUP, with the reason, for what can not be made anew elsewhere, or what the peer would not take from there: signatures (TCP-AO), a source route, a
// number of hops that the peer's packets have no longer.
Result<Wire> wire_of(int fd, const SocketInfo& facts);

}  // namespace sockmi::tcp
