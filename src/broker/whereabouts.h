// Endpoints that are not simply at home: what a host remembers of them, also over its daemon's restart.
#pragma once

#include <string>

#include "base/address.h"

namespace sockmi::broker {

// An endpoint that came here. `from` sent it, and answers for it as long as home does not know that it is here.
struct Resident {
  FourTuple tuple;
  std::string service, home;
  SocketAddress home_line;
  std::string from;
  SocketAddress from_line;
};

// An endpoint that went from here and lives elsewhere; our redirect leads to it. If its home is another host, until home knows the new place.
struct Away {
  std::string service, host;
  IpAddress address;
  std::string home;
  SocketAddress home_line;
  bool container = false;  // its address is one of another network namespace of this host, and our redirect is in there
  bool operator==(const Away&) const = default;
};

}  // namespace sockmi::broker
