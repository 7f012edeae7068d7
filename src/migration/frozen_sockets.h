// Finds and unfreezes sockets that an earlier daemon, or this one, left frozen.
#pragma once

#include <cstdint>
#include <map>

#include "base/unique_fd.h"
#include "connections/connections.h"

namespace sockmi::daemon {

using Sockets = std::map<std::uint64_t, net::TcpSocket>;

// Returns the sockets of all network namespaces that are served.
Result<Sockets> sockets_everywhere(const Services& services);

// Returns a duplicate of a descriptor of the socket, whichever process has one
// (CAP_SYS_PTRACE).
Result<unique_fd> descriptor_of(const net::TcpSocket& socket);
// `mark`: the socket's own SO_MARK.
Result<> unfreeze(const Services& services, const net::TcpSocket& socket, std::uint32_t mark);
// Lists the socket as in doubt, under frozen_id(), until it has ended or an operator
// decides. If it lives here, its redirect and its record as a remote connection end.
void leave_frozen(Connections& connections, const FourTuple& tuple, std::uint64_t cookie,
                  std::uint32_t mark);

}  // namespace sockmi::daemon
