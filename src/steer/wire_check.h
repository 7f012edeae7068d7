// Checks that a redirect of packets on the wire would match a connection's packets.
//
// A redirect matches the addresses and ports that the socket has, in packets that come in
// by the watched interfaces. If the packets of a connection have other addresses or ports
// on the wire, or come in by another interface, the connection would be dead after a
// move.
#pragma once

#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "steer/kernel_queries.h"

namespace sockmi::steer {

// Checks that the packets of a connection with another host have the same addresses,
// ports and sequence numbers on the wire as in the socket. An empty `interfaces` is not
// checked. Errors: ENOTSUP, with the reason, if the peer is this host; if an interface
// other than `interfaces` leads to it; if the kernel encrypts the packets; or if their
// addresses, ports or sequence numbers are translated.
Result<> check_wire(KernelQueries& kernel, int socket, const FourTuple& tuple, const Sender& sender,
                    const std::vector<std::string>& interfaces);

}  // namespace sockmi::steer
