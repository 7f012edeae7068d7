// Endpoints that are not simply at home: what a host remembers of them, also over its daemon's restart.
#pragma once

#include <cstdint>
#include <string>

#include "base/address.h"

namespace sockmi::daemon {

// What hosts tell each other of an endpoint may come late, twice, or in another order. Its generation says which word is the newer one. When it leaves
// home for the first time, that is the time on home's clock in microseconds, and one more with each hop: so that of a later connection with the same
// addresses and ports is greater, too. 0: an older version's, which knows of none.
std::uint64_t next_generation(std::uint64_t last);

// An endpoint that came here. `from` sent it, and answers for it as long as home does not know that it is here.
struct ImportedConnection {
  FourTuple tuple;
  std::string service, home;
  SocketAddress home_line;
  std::string from;
  SocketAddress from_line;
  std::uint64_t generation = 0;
};

// An endpoint that went from here and lives elsewhere; our redirect leads to it. If its home is another host, until home knows the new place.
struct RemoteConnection {
  std::string service, host;
  IpAddress address;
  std::string home;
  SocketAddress home_line;
  bool container = false;  // its address is one of another network namespace of this host, and our redirect is in there
  std::uint64_t generation = 0;
  std::string told_by;  // who sent it there, if not we; not in the journal
  bool operator==(const RemoteConnection&) const = default;
};

// An address that `from` has handed over to this host, and that this host has not handed on.
struct TakenOver {
  IpAddress ip;
  unsigned prefix = 0;    // bits
  std::string interface;  // by name: its number is another one after a boot
  std::string from;
  bool deprecated = false;
  bool operator==(const TakenOver&) const = default;
};

}  // namespace sockmi::daemon
