// Whether the path of a connection works before and after a move: asked of both hosts before anything is frozen.
#pragma once

#include "context/world.h"
#include "wire/control_messages.h"
#include "steer/kernel_queries.h"
#include "tcp/packet_options.h"

namespace sockmi::daemon {

// Those who ask about many connections at one moment use the same `kernel`; it is to be of the namespace of each.

// At the exporter. ENOTSUP, with the reason: packets of this socket are not as it says, or another host could not make it anew. `is_ours`: we are its
// home.
Result<tcp::Wire> may_leave(const World& world, steer::KernelQueries& kernel, int socket, const tcp::SocketInfo& facts, bool is_ours);
// What the importer is asked. `is_ours`: the peer's packets come to us first.
wire::Crossing crossing(steer::KernelQueries& kernel, const FourTuple& tuple, const tcp::Wire& wire, bool is_ours);
// Whether packets of `largest` bytes get from here to `importer`. Once something of that size was sent there, the kernel knows. ENOTSUP.
Result<> is_wide_enough(steer::KernelQueries& kernel, const IpAddress& importer, unsigned largest);  // any(): it has none of this family; the redirect says so

// At the importer. ENOTSUP, with the reason: the connection would be dead here.
Result<> may_arrive(const World& world, steer::KernelQueries& kernel, const wire::Crossing& connection);

}  // namespace sockmi::daemon
