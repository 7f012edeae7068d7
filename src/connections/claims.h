// What another host's word is good for, when it says where a connection lives.
#pragma once

#include "context/world.h"
#include "cluster/authenticated_host.h"

namespace sockmi::daemon {

// Whether `to` is an address of `host`: that from which it speaks to us, or, if another one speaks of it, one that it has told us itself.
Result<> check_address(const World& world, const cluster::AuthenticatedHost& from, const std::string& host, const IpAddress& to);

// ENOBUFS: so many connections are away that we take no more by another host's word.
Result<> check_room(const World& world);

// Whether `from` may make us lead a connection to it that we know nothing of. Our kernel's own redirect to it, found when we started, proves that we
// did so before; without that only where the administrator has said that holders are believed (steer.believe_holders).
Result<> check_claim(World& world, const std::string& from, const FourTuple& tuple, const IpAddress& to);

// The listener of ours, at `from`, that has accepted this connection there: home hears of it for the first time. None: there is none.
const RemoteConnection* accepted_there(const World& world, const std::string& from, const FourTuple& tuple);

// Whether `from` may bring a connection home: one that we have sent away, or accepted by a listener that we have. Of a memory that was lost our kernel's own
// redirect is left, or steer.believe_holders, as for a claim.
Result<> may_return(const World& world, const std::string& from, const FourTuple& tuple);

}  // namespace sockmi::daemon
