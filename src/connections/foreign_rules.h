// Adds and removes the rules for endpoints that live here while their address belongs to
// another host.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

// Adds the rules for an endpoint that is about to arrive and has no socket yet. From now
// on its packets are dropped if they find no socket, and packets that home has to
// readdress get their original destination back. Errors: EADDRINUSE if this host has a
// socket of its own whose packets would be mistaken for the endpoint's; see also
// steer::Steering::rewrite_destination().
Result<> add_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_control);
// Adds the rules for an endpoint that is here already, but for which this daemon has not
// added rules yet. Errors are only logged: the endpoint stays in any case.
void readd_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_control);
// Has to be called once for each call of the two functions above, when the endpoint has
// left or ended. The rules stay in force for `linger`.
void remove_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_control,
                          milliseconds linger);

// Prepares for home sending the endpoint's packets through a router, whatever our own
// route to home is. Errors are logged.
void comes_by_router(World& world, const FourTuple& tuple, const SocketAddress& home_control);
// Updates the rules when our address of a family has changed. `before`: the previous
// address, which may be none (any()).
void rewrite_foreign_destinations(World& world, const IpAddress& before);

// Lets the connection's entry in this host's connection tracking expire after the last
// packets. To be called when a connection that was imported, or came home, has ended or
// left.
void untrack(World& world, const FourTuple& tuple);

}  // namespace sockmi::daemon
