// What a socket has by a privilege, and what of that goes with it.
//
// Marks and priorities that a privileged program gave a socket of this host's network go with it, as all else that the connection is: its user can
// neither choose nor change them. (IP_TRANSPARENT, which a guest has for as long as it lives, gives its user nothing but the address that it is bound to,
// which its home has seen to be its own, see ownership.h: bound sockets can't be bound anew.)
#pragma once

#include "wire/control_messages.h"

namespace sockmi::daemon {

// Of a container: its root is privileged in its own network, and what it set there would hold in an importer's.
void leave_privileges_behind(wire::TcpT& socket);
// Marks that our own rules go by are no application's.
void drop_our_marks(wire::TcpT& socket);

}  // namespace sockmi::daemon
