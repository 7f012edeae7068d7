// Connections that an application here has accepted from an imported listener. They are
// imported connections as well, but no message has announced them.
#pragma once

#include "connections/foreign_rules.h"
#include "connections/table.h"
#include "context/services.h"

namespace sockmi::daemon {

// Registers the connections that an application here has accepted from a listener whose
// home is elsewhere: packets reach them only as long as the listener is here. Before it
// leaves or ends, home is notified of each of them, and they are treated like all
// imported connections. Repeated until home answers, because home must not redirect the
// port elsewhere before; until a connection has ended; or until `give_up`.
asio::awaitable<void> adopt_accepted(const Services& services, ConnectionTable& table,
                                     ForeignRules& rules, SocketAddress local,
                                     ImportedConnection listener,
                                     Clock::time_point give_up = Clock::time_point::max());

// Watches the ports that imported listeners have here (port_reservations.h), as long as
// the daemon runs.
asio::awaitable<void> watch_ports(const Services& services, ConnectionTable& table,
                                  ForeignRules& rules);

}  // namespace sockmi::daemon
