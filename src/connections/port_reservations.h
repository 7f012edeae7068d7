// Ports of this host's own to which homes behind routers send what is for guests here.
//
// Such a port is held by a socket that is bound and does nothing: whoever wants it learns by EADDRINUSE that it is not to be had, instead of being
// reached by nobody. A guest that is bound to all addresses of the host holds it by itself. While no daemon runs nobody holds it. To who has bound it then
// the next daemon leaves it, and says that the guest has lost it; what the guest has accepted goes on.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::daemon {

struct World;

class PortReservations {
 public:
  // The guest gets what comes to our own port. `is_here`: its socket has been there for some time. EADDRINUSE: a socket of this host's, or another
  // home's guest, has that port.
  Result<> lend(World& world, const FourTuple& guest, const SocketAddress& home, const IpAddress& own, bool is_here);
  void take_back(World& world, const FourTuple& guest, const SocketAddress& home, const IpAddress& own);

  // The guest is here, and its port is not to be had: it gets no new connections. It is tried again until it is, or the guest has gone.
  void want(const FourTuple& guest, const SocketAddress& home, const IpAddress& own, const Error& why);
  boost::asio::awaitable<void> watch(World& world);
  std::vector<std::string> warnings() const;

 private:
  struct Wanted {
    SocketAddress home;
    IpAddress own;
    bool left = false;  // to whom it belongs
  };
  boost::asio::awaitable<void> leave(World& world, FourTuple guest);
  std::map<SocketAddress, unique_fd> held_;
  std::map<FourTuple, Wanted> wanted_;
};

}  // namespace sockmi::daemon
