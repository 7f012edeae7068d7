// Handles what a killed daemon left undecided, perhaps because its crash guard was killed
// too: sockets that are still frozen, and decisions whose outcome no importer has
// reported.
#pragma once

#include <map>

#include "context/world.h"

namespace sockmi::daemon {

using Sockets = std::map<std::uint64_t, net::TcpSocket>;

// Returns the sockets of all network namespaces that are served.
Result<Sockets> sockets_everywhere(World& world);

// Unfreezes the frozen sockets whose move was not decided. Those whose move was decided,
// and all decisions, are settled by the importer's report, which is requested from now
// on. Unfreezing needs a descriptor of the socket, which is taken from its application
// (CAP_SYS_PTRACE). Where that is not allowed, the socket is in doubt.
void adopt_orphans(World& world, const Sockets& sockets);

// The id by which leave_frozen() lists a frozen socket as in doubt. `mark`: the socket's
// own SO_MARK.
std::string frozen_id(std::uint64_t cookie);
void leave_frozen(World& world, const FourTuple& tuple, std::uint64_t cookie, std::uint32_t mark);

}  // namespace sockmi::daemon
