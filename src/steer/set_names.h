// The names of our nftables sets and maps, and of the interfaces that have maps of their
// own.
#pragma once

#include <netinet/in.h>

#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "steer/nft_sets.h"

namespace sockmi::steer {

// The sets of one address family.
struct FamilySets {
  // At home, table "netdev sockmi". A connection is the key (peer, its port, home, its
  // port) and a port the key (home, port), in the order of the packets.
  SetName returning;             // connections that are returning home
  SetName routed, ended_routed;  // connections; ended connections -> importer behind a router
  SetName ports_routed;          // ports of moved listeners -> importer behind a router
  SetName via, out;              // importer behind a router -> the router; -> the interface
  SetName exempt;  // connections that still live here although their listener has moved
  // On the importer, table "inet sockmi":
  SetName foreign;          // foreign connections that live here or lived here shortly before
  SetName foreign_ports;    // likewise, ports
  SetName rewritten;        // (peer, port, own address, port) -> home, if it is behind a router
  SetName rewritten_ports;  // (own address, port) -> home: likewise, for listeners
  SetName blocked;          // ports: new connections get no answer while the listener moves
};
extern const FamilySets kSets4, kSets6;
inline const FamilySets& sets_of(const IpAddress& ip) {
  return ip.unmapped().family == AF_INET ? kSets4 : kSets6;
}

// The maps to importers on the link of one interface. Each interface has maps of its own,
// because a rule can name only one interface.
struct Link {
  std::string interface;
  unsigned index;  // of the interface; 0: it does not exist at present
  struct Maps {
    // Connections, connections that have ended, and ports -> importer.
    SetName redirects, ended, ports;
  } four, six;
  const Maps& maps_of(const IpAddress& ip) const {
    return ip.unmapped().family == AF_INET ? four : six;
  }
};

// `interfaces`: those by which the peers' packets come in. Errors: ENODEV if an interface
// does not exist.
Result<std::vector<Link>> links_of(const std::vector<std::string>& interfaces);
// Looks up the interfaces' indexes again, because an interface that was deleted and
// created again has another index. Returns whether one has changed.
bool look_up(std::vector<Link>& links);

}  // namespace sockmi::steer
