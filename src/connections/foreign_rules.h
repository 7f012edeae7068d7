// Adds and removes the rules for endpoints that live here while their address belongs to
// another host.
#pragma once

#include <optional>

#include "connections/foreign_addresses.h"
#include "connections/port_reservations.h"
#include "connections/table.h"
#include "context/services.h"

namespace sockmi::daemon {

class ForeignRules {
 public:
  explicit ForeignRules(const Services& services)
      : services_(services),
        addresses_(services),
        ports_(services) {}
  ForeignRules(const ForeignRules&) = delete;

  // Adds the rules for an endpoint that is about to arrive and has no socket yet. From
  // now on its packets are dropped if they find no socket, and packets that home has to
  // readdress get their original destination back. Errors: EADDRINUSE if this host has a
  // socket of its own whose packets would be mistaken for the endpoint's; see also
  // steer::Steering::rewrite_destination().
  Result<> add(const FourTuple& tuple, const SocketAddress& home_control);
  // Adds the rules for an endpoint that is here already, but for which this daemon has
  // not added rules yet. Errors are only logged: the endpoint stays in any case.
  void readd(const FourTuple& tuple, const SocketAddress& home_control);
  // Has to be called once for each call of the two functions above, when the endpoint has
  // left or ended. The rules stay in force for `linger`; none: the configured time.
  void remove(const FourTuple& tuple, const SocketAddress& home_control,
              std::optional<milliseconds> linger = {});

  // Home says that it sends the endpoint's packets through a router, whatever our own
  // route to home is. This host's own connections keep their packets, whatever home says.
  // Errors are logged.
  void comes_by_router(const FourTuple& tuple, const SocketAddress& home_control);
  // Updates the rules when our address of a family has changed. `before`: the previous
  // address, which may be none (any()).
  void rewrite_destinations(const ConnectionTable& table, const IpAddress& before);

  // Lets the connection's entry in this host's connection tracking expire after the last
  // packets. To be called when a connection that was imported, or came home, has ended or
  // left.
  void untrack(const FourTuple& tuple);

  ForeignAddresses& addresses() { return addresses_; }
  PortReservations& ports() { return ports_; }
  const PortReservations& ports() const { return ports_; }

 private:
  void receive_by_router(const FourTuple& tuple, const SocketAddress& home_control, bool is_here);
  Result<> rewrite_destination(const FourTuple& tuple, const IpAddress& address, bool is_here);
  void take_back(const FourTuple& tuple, const IpAddress& address, const IpAddress& own);

  const Services& services_;
  ForeignAddresses addresses_;
  PortReservations ports_;
};

}  // namespace sockmi::daemon
