// Connections that an application here has accepted from an imported listener. They are
// imported connections as well, but no message has announced them.
#pragma once

#include <functional>

#include "connections/foreign_rules.h"
#include "connections/table.h"
#include "context/services.h"

namespace sockmi::daemon {

// Whether the connections that are frozen, because they are about to move, count.
enum class Frozen { Included, Excluded };

// Registers the connections that an application here has accepted from a listener whose
// home is elsewhere: packets reach them only as long as the listener is here. Before it
// leaves or ends, home is notified of each of them, and they are treated like all
// imported connections. Repeated until home accepts them, because home must not redirect
// the port elsewhere before; until a connection has ended; while `is_due`; and until
// `give_up`. A home that rejects them for a reason that may pass is asked for a minute.
// Home is also notified of those that have a record already.
asio::awaitable<void> claim_accepted(const Services& services, ConnectionTable& table,
                                     ForeignRules& rules, SocketAddress local,
                                     ImportedConnection listener, std::function<bool()> is_due,
                                     Clock::time_point give_up = Clock::time_point::max(),
                                     Frozen frozen = Frozen::Included);

// Watches the ports that imported listeners have here (port_reservations.h), as long as
// the daemon runs.
asio::awaitable<void> watch_ports(const Services& services, ConnectionTable& table,
                                  ForeignRules& rules);

}  // namespace sockmi::daemon
