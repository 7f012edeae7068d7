// Chooses the map for each redirect by the importer's next hop. There is one map per
// link, and one for importers behind routers.
//
// Routes change, and an interface may be created again with another number. Then the
// redirects move to the map of the new next hop.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "net/addresses.h"
#include "net/route.h"
#include "steer/kept_tables.h"

namespace sockmi::steer {

class RedirectMaps {
 public:
  enum class Kind { Connections, EndedConnections, Ports };

  using Addresses = std::vector<net::HostAddress>;

  // With `on_link_of`, importers must be on the link of one of these addresses. Borrows
  // the rest.
  RedirectMaps(KeptTables& tables, net::Netlink& route, std::optional<Addresses> on_link_of)
      : tables_(tables),
        route_(route),
        on_link_of_(std::move(on_link_of)) {}

  // Returns all maps of the kind, for the address family of `ip`.
  std::vector<const SetName*> all(Kind kind, const IpAddress& ip) const;
  Result<net::NextHop> next_hop_to(const IpAddress& host);

  // Appends the changes that redirects to this importer require. To be called once per
  // importer and transaction, before add_redirect(). Errors: ENETUNREACH if the importer
  // is not on a link where it must be.
  Result<> add_importer(std::vector<Change>& changes, const IpAddress& importer);
  // Appends the changes that put the key into the importer's map, and remove it from all
  // others. Errors: ENETUNREACH if no interface of ours leads to the importer.
  Result<> add_redirect(std::vector<Change>& changes, Kind kind, const Bytes& key,
                        const IpAddress& importer,
                        std::optional<std::chrono::milliseconds> expires_in);

  // Looks up all next hops again, and moves redirects to the maps of the present ones.
  // The entries of a host that cannot be reached now stay as they are.
  Result<> renew();
  // Returns the importers whose redirects renew() has moved since the last call.
  std::vector<IpAddress> take_rerouted() { return std::exchange(rerouted_, {}); }

 private:
  struct Found {
    net::NextHop hop;
    std::chrono::steady_clock::time_point at;
  };
  Result<const SetName*> map_to(const std::vector<const SetName*>& maps, const IpAddress& importer);
  Result<> add_router(std::vector<Change>& changes, const IpAddress& importer);
  Result<> reroute(const IpAddress& importer);

  KeptTables& tables_;
  net::Netlink& route_;
  const std::optional<Addresses> on_link_of_;
  std::map<IpAddress, Found> next_hops_;      // as found last, by host
  std::map<IpAddress, net::NextHop> in_use_;  // by our redirects, by importer
  std::vector<IpAddress> rerouted_;
};

}  // namespace sockmi::steer
