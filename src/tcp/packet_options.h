// The properties of a socket's packets that must suit another host and the peer.
#pragma once

#include "tcp/socket_info.h"

namespace sockmi::tcp {

struct Wire {
  unsigned largest = 0;    // bytes of the largest packets that the peer may send; 0: no peer
  unsigned device = 0;     // the interface to which the socket is bound; 0: none
  std::uint32_t mark = 0;  // SO_MARK
  bool near = false;       // the peer may require that there is no router in between (RFC 5082)
};

// Returns the properties of the socket's packets. Errors: ENOTSUP, with the reason, for
// what cannot be recreated elsewhere or what the peer would not accept from there:
// signatures (TCP-AO), a source route, a minimum hop count that the peer's packets no
// longer reach.
Result<Wire> wire_of(int fd, const SocketInfo& facts);

}  // namespace sockmi::tcp
