// Checks that a socket may redirect packets: its address and port have to belong to its
// user.
#pragma once

#include "connections/table.h"
#include "context/services.h"
#include "migration/batch_queries.h"
#include "tcp/socket_info.h"

namespace sockmi::daemon {

// Checks that the exporting user may move the socket away from its local address.
//
// Errors: EADDRNOTAVAIL if the local address is not one of the socket's network namespace
// (IP_FREEBIND needs no privilege, so a bound address proves nothing). Imported
// endpoints, and connections that an imported listener has accepted here, need not have a
// local address.
//
// For users other than root, a bound or listening socket has to meet more conditions.
// Errors: EACCES if another user has a socket at its port, or if the service's `listen`
// does not contain its address; ENOTSUP if it is a wildcard for IPv6 only, because a
// moved port is redirected in both families.
Result<> owns_address(const Services& services, const ConnectionTable& table, BatchQueries& queries,
                      int socket, const tcp::SocketInfo& facts, const wire::Endpoint& endpoint);

}  // namespace sockmi::daemon
