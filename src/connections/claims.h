// Decides whether to accept what another host claims about the location of a connection.
#pragma once

#include "cluster/authenticated_host.h"
#include "connections/table.h"
#include "context/services.h"

namespace sockmi::daemon {

// Checks that `to` is an address of `host`. If `from` is `host`, this is the address from
// which it is connected to us; otherwise it is an address that `host` itself has
// announced. Errors: EHOSTUNREACH if `host` is not known here; EACCES if `to` is not its
// address.
Result<> check_address(const Services& services, const cluster::AuthenticatedHost& from,
                       const std::string& host, const IpAddress& to);

// Errors: ENOBUFS if so many connections live elsewhere that no more are accepted on the
// claim of another host.
Result<> check_room(const ConnectionTable& table);

// Checks whether `from` may make us redirect a connection to it of which we have no
// record. Our kernel's own redirect to that host, found at startup, proves that we
// redirected it there before. Without that proof, the claim is accepted only if the
// administrator has configured that holders are trusted (steer.believe_holders). Errors:
// EACCES if it is not accepted; ENOBUFS (see check_room()).
Result<> check_claim(const Services& services, const ConnectionTable& table,
                     const std::string& from, const FourTuple& tuple, const IpAddress& to);

// Returns the record of our listener that lives at `from` and has accepted this
// connection there, of which home has no record yet. Null if there is no such listener.
const RemoteConnection* accepted_there(const Services& services, const ConnectionTable& table,
                                       const std::string& from, const FourTuple& tuple);

// Checks whether `from` may bring a connection home: we have moved it away, or a listener
// of ours that moved has accepted it. If our record is lost, our kernel's redirect to
// `from` is accepted as proof, or steer.believe_holders, as for a claim. Errors: EACCES
// if it may not.
Result<> may_return(const Services& services, const ConnectionTable& table, const std::string& from,
                    const FourTuple& tuple);

}  // namespace sockmi::daemon
