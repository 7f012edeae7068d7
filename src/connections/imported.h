// Imported connections: their records together with their rules.
#pragma once

#include <map>

#include "connections/foreign_rules.h"
#include "connections/table.h"
#include "context/services.h"

namespace sockmi::daemon {

// An endpoint lives here from now on. Its rules have been added.
void add_imported(ConnectionTable& table, ForeignRules& rules, std::uint64_t cookie,
                  const ImportedConnection& imported);
// An imported connection is at home from now on: its address has become ours.
void rehome(ConnectionTable& table, ForeignRules& rules, std::uint64_t cookie);

// False if the socket with this cookie does not have this connection any more. `alive`:
// the result of all_sockets(). That list may miss a socket while others are created and
// destroyed, so a socket that is not in it is looked up by addresses and ports.
bool lives(const Services& services, const std::map<std::uint64_t, net::TcpSocket>& alive,
           std::uint64_t cookie, const FourTuple& tuple);

}  // namespace sockmi::daemon
