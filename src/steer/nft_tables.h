// Creates the two tables "netdev sockmi" and "inet sockmi". They are created once, and
// are readable with nft(8). Later changes concern only the elements of their maps and
// sets.
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include <linux/netfilter.h>

#include <string>
#include <vector>

#include "base/address.h"
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
struct Segment {
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
Result<std::vector<Segment>> segments_of(const std::vector<std::string>& interfaces);

// Creates our tables. If an earlier daemon has left tables, they are changed to ours and
// keep the elements of their maps and sets: see nft_upgrade.cc. `daemon`: see
// make_nft_steering(). `anew`: changes them even if they seem to be like ours already.
Result<> create_tables(net::Netlink& netfilter, const std::vector<Segment>& segments, ino_t daemon,
                       bool anew = false);
// Looks up the interfaces' indexes again, because an interface that was deleted and
// created again has another index. Returns whether one has changed.
bool look_up(std::vector<Segment>& segments);
Result<> remove_tables();

}  // namespace sockmi::steer
