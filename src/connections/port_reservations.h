// Reserves ports at this host's own address: homes behind routers send the packets of
// listeners that were imported here to such ports.
//
// A port is held by a socket that is bound and does nothing else. An application that
// wants the port gets EADDRINUSE, instead of a port at which it would never be reached. A
// listener that is bound to all addresses of the host holds the port itself. While no
// daemon runs, nothing holds the port. If another socket has been bound to it meanwhile,
// the next daemon leaves the port to that socket, and reports that the imported listener
// has lost it. Connections that the listener has accepted continue.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "context/services.h"

namespace sockmi::daemon {

class PortReservations {
 public:
  explicit PortReservations(const Services& services) : services_(services) {}

  // Delivers what arrives at our own port to the imported `listener`. `is_here`:
  // its socket has been here for some time; if it is bound to a wildcard, it then holds
  // the port itself. Errors: EADDRINUSE if a socket of this host, or an imported listener
  // of another home, has that port.
  Result<> lend(const FourTuple& listener, const SocketAddress& home, const IpAddress& own,
                bool is_here);
  void take_back(const FourTuple& listener, const SocketAddress& home, const IpAddress& own);

  // `listener` is here, and its port is not available: it gets no new
  // connections. retry() tries again until it gets the port or the listener has gone.
  void want(const FourTuple& listener, const SocketAddress& home, const IpAddress& own,
            const Error& why);
  // Returns the listeners whose port another socket has, and that have not left it yet.
  std::vector<FourTuple> retry();
  // Tries again for one of these. Returns false if it has its port now, or has gone.
  bool is_still_taken(const FourTuple& listener);
  // Leaves the port of `listener` to the socket that has it.
  void leave(const FourTuple& listener);
  std::vector<std::string> warnings() const;

 private:
  struct Wanted {
    SocketAddress home;
    IpAddress own;
    bool left = false;  // to the socket that has it
  };

  const Services& services_;
  std::map<SocketAddress, unique_fd> held_;
  std::map<FourTuple, Wanted> wanted_;
};

}  // namespace sockmi::daemon
