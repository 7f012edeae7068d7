// Checks whether the path of a connection works before and after a migration. Both hosts
// are asked before anything is frozen.
#pragma once

#include "context/services.h"
#include "steer/kernel_queries.h"
#include "tcp/packet_options.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

// Callers that check many connections at one moment use the same `kernel`. It must belong
// to the network namespace of each of them.

// At the exporter. Returns the properties of the socket's packets. Errors: ENOTSUP, with
// the reason, if the packets of this socket do not look as the socket says, or if another
// host could not recreate it. `is_ours`: this host is its home.
Result<tcp::Wire> may_leave(const Services& services, steer::KernelQueries& kernel, int socket,
                            const tcp::SocketInfo& facts, bool is_ours);
// Returns the path query for the importer. `is_ours`: the peer's packets arrive at this
// host first.
wire::PathRequirements path_requirements(steer::KernelQueries& kernel, const FourTuple& tuple,
                                         const tcp::Wire& wire, bool is_ours);
// Checks whether packets of `largest` bytes fit the path from here to `importer`. The
// kernel knows once a packet of that size was sent there. Errors: ENOTSUP.
// any(): the importer has no address of this family; installing the redirect reports
// that.
Result<> is_wide_enough(steer::KernelQueries& kernel, const IpAddress& importer, unsigned largest);

// At the importer. Errors: ENOTSUP, with the reason, if the connection would not work
// here.
Result<> may_arrive(const Services& services, steer::KernelQueries& kernel,
                    const wire::PathRequirements& connection);

}  // namespace sockmi::daemon
