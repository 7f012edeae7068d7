// The two tables: set up once, to be read with nft(8). What changes with connections are elements of their maps and sets.
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
  // At home, "netdev sockmi". A connection is (peer, port, home, port), a port (home, port), as packets have them.
  SetName coming;           // connections that are coming home
  SetName away, ended_away;  // connections, and such as have ended -> importer behind a router
  SetName ports_away;       // ports of listeners that have moved -> importer behind a router
  SetName via, out;         // importer behind a router -> the router; -> the interface
  SetName stay;             // connections that live on here though their listener has moved
  // On the importer, "inet sockmi":
  SetName guests;           // connections that live here, or lived here a moment ago, though their address is another host's
  SetName guest_ports;      // likewise, ports
  SetName readdress;        // (peer, port, own address, port) -> home: connections whose home is behind a router
  SetName readdress_ports;  // (own address, port) -> home: likewise, for listeners
  SetName held;             // ports: new connections get no answer while the listener is being moved
};
extern const FamilySets kSets4, kSets6;
inline const FamilySets& sets_of(const IpAddress& ip) { return ip.unmapped().family == AF_INET ? kSets4 : kSets6; }

// The maps to importers on the segment of one interface: a rule can name but one.
struct Segment {
  std::string interface;
  unsigned index;  // of the interface; 0: there is none at present
  struct Maps {
    SetName redirects, ended, ports;  // connections, such as have ended, ports -> importer
  } four, six;
  const Maps& maps_of(const IpAddress& ip) const { return ip.unmapped().family == AF_INET ? four : six; }
};

// `interfaces`: by which the peers' packets come in. ENODEV: there is no such interface.
Result<std::vector<Segment>> segments_of(const std::vector<std::string>& interfaces);

// Tables of an earlier daemon are made like ours, around the elements of their maps and sets: see adopt.cc. `daemon`: see make_nft_steering().
// `anew`: also if they seem to be like ours already.
Result<> create_tables(net::Netlink& netfilter, const std::vector<Segment>& segments, ino_t daemon, bool anew = false);
// Interfaces may have been made anew, with another index. Whether one has.
bool look_up(std::vector<Segment>& segments);
Result<> remove_tables();

}  // namespace sockmi::steer
