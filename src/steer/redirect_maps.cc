#include "steer/redirect_maps.h"

#include <algorithm>

#include "net/interface_name.h"
#include "steer/nft_keys.h"

namespace sockmi::steer {
namespace {

using std::chrono::milliseconds;

// Routes change rarely, but they do: a next hop older than this is looked up again.
constexpr std::chrono::seconds kFreshTime{1};

struct MapsOfKind {
  SetName Link::Maps::*on_link;
  SetName FamilySets::*routed;
};
// By Kind.
constexpr MapsOfKind kMaps[] = {{&Link::Maps::redirects, &FamilySets::routed},
                                {&Link::Maps::ended, &FamilySets::ended_routed},
                                {&Link::Maps::ports, &FamilySets::ports_routed}};

void put_only_in(std::vector<Change>& changes, const std::vector<const SetName*>& maps,
                 const SetName* map, const Bytes& key, const Bytes& data,
                 std::optional<milliseconds> expires_in) {
  for (const SetName* each : maps) {
    changes.push_back(each == map ? put_element(*each, key, data, expires_in)
                                  : remove_element(*each, key));
  }
}

}  // namespace

// The one for importers behind routers is the last.
std::vector<const SetName*> RedirectMaps::all(Kind kind, const IpAddress& ip) const {
  const MapsOfKind& of_kind = kMaps[static_cast<std::size_t>(kind)];
  std::vector<const SetName*> maps;
  for (const Link& link : tables_.links())
    maps.push_back(&(link.maps_of(ip).*of_kind.on_link));
  maps.push_back(&(sets_of(ip).*of_kind.routed));
  return maps;
}

Result<net::NextHop> RedirectMaps::next_hop_to(const IpAddress& host) {
  Found& found = next_hops_[host];
  if (const auto now = std::chrono::steady_clock::now(); found.at + kFreshTime < now) {
    TRY_LET(hop, net::next_hop_to(route_, host));
    found = {hop, now};
  }
  return found.hop;
}

// Returns the one of `maps`, which all() has returned, that leads to the importer.
Result<const SetName*> RedirectMaps::map_to(const std::vector<const SetName*>& maps,
                                            const IpAddress& importer) {
  TRY_LET(hop, next_hop_to(importer));
  if (hop.routed()) return maps.back();
  const std::vector<Link>& links = tables_.links();
  for (std::size_t i = 0; i < links.size(); ++i)
    if (links[i].index == hop.interface) return maps[i];
  return fail(ENETUNREACH, "route to {} uses {}, which is not in 'interfaces'", to_string(importer),
              net::interface_name(hop.interface));
}

Result<> RedirectMaps::add_importer(std::vector<Change>& changes, const IpAddress& to) {
  const IpAddress importer = to.unmapped();
  const auto reaches = [&](const net::HostAddress& each) {
    return importer.family == each.ip.family && importer.in_prefix(each.ip, each.prefix);
  };
  if (on_link_of_ && std::ranges::none_of(*on_link_of_, reaches)) {
    return fail(ENETUNREACH, "{} is not on the link of the connection's network namespace",
                to_string(importer));
  }
  TRY_LET(hop, next_hop_to(importer));
  // try_emplace, because older redirects may use another next hop than the present one.
  in_use_.try_emplace(importer, hop);
  return add_router(changes, importer);
}

// The importer may be reached in another way than the last one, and a connection that has
// ended is in other maps than before.
Result<> RedirectMaps::add_redirect(std::vector<Change>& changes, Kind kind, const Bytes& key,
                                    const IpAddress& to, std::optional<milliseconds> expires_in) {
  const IpAddress importer = to.unmapped();
  std::vector<const SetName*> maps = all(kind, importer);
  TRY_LET(map, map_to(maps, importer));
  if (kind != Kind::Ports) {
    const Kind other = kind == Kind::Connections ? Kind::EndedConnections : Kind::Connections;
    for (const SetName* each : all(other, importer))
      maps.push_back(each);
  }
  put_only_in(changes, maps, map, key, bytes_of(importer), expires_in);
  return {};
}

// The next hop of a router is stored once per importer, not per connection.
Result<> RedirectMaps::add_router(std::vector<Change>& changes, const IpAddress& importer) {
  TRY_LET(hop, next_hop_to(importer));
  if (!hop.routed()) return {};
  const auto* index = reinterpret_cast<const std::uint8_t*>(&hop.interface);
  const FamilySets& sets = sets_of(importer);
  const Bytes key = bytes_of(importer);
  for (auto& [set, data] : {std::pair(&sets.out, Bytes(index, index + sizeof hop.interface)),
                            std::pair(&sets.via, bytes_of(hop.gateway))}) {
    TRY_LET(now, tables_.sets().find(*set, key));
    if (now != data) changes.push_back(put_element(*set, key, data));
  }
  return {};
}

Result<> RedirectMaps::renew() {
  next_hops_.clear();
  Result<> done;
  std::vector<Change> changes;
  for (const FamilySets* sets : {&kSets4, &kSets6}) {
    TRY_LET(known, tables_.sets().list(sets->out));
    for (const Element& each : known)
      if (const auto host = IpAddress::from_bytes(each.key)) (void)add_router(changes, *host);
  }
  if (!changes.empty()) {
    TRY(tables_.sets().apply(changes));
    tables_.note("ways to routers");
  }
  for (auto& [importer, before] : in_use_) {
    const auto now = next_hop_to(importer);
    if (!now || *now == before) continue;
    auto rerouted = reroute(importer);
    if (rerouted) {
      before = *now;
    } else if (done) {
      done = std::move(rerouted);
    }
  }
  return done;
}

// Moves all redirects to this importer to the map of its present next hop.
Result<> RedirectMaps::reroute(const IpAddress& importer) {
  std::vector<Change> changes;
  const Bytes data = bytes_of(importer);
  for (const Kind kind : {Kind::Connections, Kind::EndedConnections, Kind::Ports}) {
    const auto maps = all(kind, importer);
    for (const SetName* map : maps) {
      TRY_LET(elements, tables_.sets().list(*map));
      std::erase_if(elements, [&](const Element& each) { return each.data != data; });
      if (elements.empty()) continue;
      TRY_LET(present, map_to(maps, importer));
      for (const Element& each : elements)
        put_only_in(changes, maps, present, each.key, data, each.expires_in);
    }
  }
  if (changes.empty()) return {};
  TRY(add_router(changes, importer));
  TRY(tables_.sets().apply(changes));
  rerouted_.push_back(importer);
  tables_.note("the way to " + to_string(importer));
  return {};
}

}  // namespace sockmi::steer
