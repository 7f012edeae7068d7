// What the packets of an endpoint need that lives here though its address is another host's.
#pragma once

#include "context/world.h"

namespace sockmi::daemon {

// One comes, and has no socket yet. Packets of it that meet no socket are dropped here from now on, and those that home has to readdress get their
// destination back. EADDRINUSE: see steer::Steering::rewrite_destination(); or this host has a socket of its own whose packets would be taken for such.
Result<> add_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_line);
// One is here already, of which this daemon did not know: nothing keeps it from that.
void readd_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_line);
// Once for each of the two, when it has gone or ended; the rules stay for `linger`.
void remove_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_line, milliseconds linger);

// Home sends its packets by way of a router, whatever our own way to home is.
void comes_by_router(World& world, const FourTuple& tuple, const SocketAddress& home_line);
// Our address of a family is another one now than `before`, which may be none.
void rewrite_foreign_destinations(World& world, const IpAddress& before);

// A connection that had come here, home too, has ended, or gone: its entry in the host's connection tracking is left to the last packets.
void untrack(World& world, const FourTuple& tuple);

}  // namespace sockmi::daemon
