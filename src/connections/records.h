// Records of the endpoints that do not simply live at home. They survive a restart of the
// daemon.
#pragma once

#include <cstdint>
#include <string>

#include "base/address.h"

namespace sockmi::daemon {

// Returns the generation that follows `last`. Messages between hosts about an endpoint
// may arrive late, twice, or in another order; the generation shows which one is newer.
// When an endpoint leaves home, its generation is the time on home's clock in
// microseconds, and each further hop adds one. So a later connection with the same
// addresses and ports has a greater generation, too. A clock that is set back does not
// make the generation of a connection smaller. `last`: 0: not known, or the sender's
// version has no generations.
std::uint64_t next_generation(std::uint64_t last, bool leaves_home = false);

// True for an endpoint without a peer: bound or listening.
bool is_passive(std::uint8_t state);  // SOCKMI_BOUND, SOCKMI_LISTENING
bool is_passive(const FourTuple& tuple);

// An endpoint that came here. `from` sent it, and is responsible for it until home has
// confirmed that it is here.
struct ImportedConnection {
  FourTuple tuple;
  std::string service, home;
  SocketAddress home_control;
  std::string from;
  SocketAddress from_control;
  std::uint64_t generation = 0;
  bool operator==(const ImportedConnection&) const = default;
};

// An endpoint that left this host and lives elsewhere; our redirect leads to it. If its
// home is another host, the record is kept until home has confirmed the new place.
struct RemoteConnection {
  std::string service, host;
  IpAddress address;
  std::string home;
  SocketAddress home_control;
  // Its address belongs to another network namespace of this host, which has our
  // redirect.
  bool container = false;
  std::uint64_t generation = 0;
  std::string told_by;  // the host that sent it there, if not this one; not in the journal
  bool operator==(const RemoteConnection&) const = default;
};

// An address that `from` has handed over to this host, and that this host has not handed
// on.
struct TakenOver {
  IpAddress ip;
  unsigned prefix = 0;    // bits
  std::string interface;  // by name: its number changes with a reboot
  std::string from;
  bool deprecated = false;
  bool operator==(const TakenOver&) const = default;
};

}  // namespace sockmi::daemon
