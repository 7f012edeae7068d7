// What a daemon that was killed, perhaps with its guard, left undecided: sockets that are mute still, and decisions whose outcome nobody has told it.
#pragma once

#include <map>

#include "context/world.h"

namespace sockmi::daemon {

using Sockets = std::map<std::uint64_t, net::TcpSocket>;

// Those of all network namespaces that are served.
Result<Sockets> sockets_everywhere(World& world);

// A mute socket that was not decided goes on; one that was, and every decision, is settled by the importer's word, for which it is asked from now on.
// A socket can only be given back by who has a descriptor of it, which is taken from its application (CAP_SYS_PTRACE); where that is not allowed it is
// in doubt.
void adopt_orphans(World& world, const Sockets& sockets);

// Of the socket in doubt.
std::string mute_id(std::uint64_t cookie);
void leave_mute(World& world, const FourTuple& tuple, std::uint64_t cookie, std::uint32_t mark);

}  // namespace sockmi::daemon
