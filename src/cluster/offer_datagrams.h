// Writes offers, and what hosts answer, as datagrams, and reads them.
#pragma once

#include "cluster/offer.h"
#include "wire/discovery_generated.h"

namespace sockmi::cluster {

// The datagram of a Request or Confirm. Errors: EBADMSG if it is not a valid offer;
// EINVAL if an address is not valid.
wire::DatagramT write_offer(wire::Kind kind, const Offer& offer);
Result<Offer> read_offer(const wire::DatagramT& datagram);
// Reads a Response. Errors: EINVAL if its address is not valid.
Result<HostAnswer> read_response(const wire::DatagramT& datagram);
// Returns the sender's address of the family that `control_address` does not have; any()
// if it has none.
IpAddress other_address(const wire::DatagramT& datagram);

}  // namespace sockmi::cluster
