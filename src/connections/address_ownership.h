// Whether a socket may lead packets away: those for its address and port have to be its user's.
#pragma once

#include "migration/survey.h"
#include "context/world.h"
#include "tcp/socket_info.h"

namespace sockmi::daemon {

// EADDRNOTAVAIL: the local address is not one of the socket's network namespace, and the socket is no guest of ours (IP_FREEBIND needs no
// privilege). Others than root may not move a bound or listening socket either if another user has a socket at its port, or the service's
// `listen` does not name its address (EACCES), or if it speaks IPv6 alone at the wildcard (ENOTSUP): a moved port is led away in both families.
Result<> owns_address(const World& world, Survey& survey, int socket, const tcp::SocketInfo& facts, const wire::Endpoint& endpoint);

}  // namespace sockmi::daemon
