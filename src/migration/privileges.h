// Decides which properties of a socket that require a privilege move with it.
//
// The mark and the priority that a privileged program set on a socket in this host's
// network move with it, like the rest of the connection's state: the socket's user can
// neither choose nor change them. (A foreign connection has IP_TRANSPARENT while it
// lives. That gives its user only the address to which it is bound, which its home has
// checked to be its own (address_ownership.h): a bound socket cannot be bound again.)
#pragma once

#include "wire/control_messages.h"

namespace sockmi::daemon {

// Removes the privileged properties of a container's socket. The container's root is
// privileged in its own network only, and its settings would apply in the importer's
// network.
void leave_privileges_behind(wire::TcpT& socket);
// Removes marks that our own rules use; no application sets them.
void drop_our_marks(wire::TcpT& socket);

}  // namespace sockmi::daemon
