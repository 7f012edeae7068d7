// Translates the operations of Steering to changes of set elements. nft_tables.cc
// describes what the elements do to packets.
#include "steer/steering.h"

#include <net/if.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "base/unique_fd.h"
#include "net/conntrack.h"
#include "net/route.h"
#include "steer/boot_filter.h"
#include "steer/fallback_table.h"
#include "steer/nft_keys.h"
#include "steer/nft_sets.h"
#include "steer/nft_tables.h"
#include "steer/nft_upgrade.h"
#include "steer/policy_route.h"
#include "steer/ruleset_monitor.h"
#include "steer/table_lock.h"

namespace sockmi::steer {
namespace {

using std::chrono::milliseconds;

class NftSteering : public Steering, public Upkeep {
 public:
  NftSteering(unique_fd claim, std::unique_ptr<Changes> changes,
              std::unique_ptr<net::Netlink> netfilter, std::unique_ptr<net::Netlink> route,
              std::vector<std::string> interfaces, std::vector<Segment> segments, ino_t daemon)
      : claim_(std::move(claim)),
        changes_(std::move(changes)),
        netfilter_(std::move(netfilter)),
        route_(std::move(route)),
        interfaces_(std::move(interfaces)),
        daemon_(daemon),
        segments_(std::move(segments)),
        sets_(*netfilter_) {}
  // From here on the elements that an earlier daemon left are remembered, whatever
  // happens to them in the kernel.
  Result<> set_up() {
    TRY(build(false));
    for (const FamilySets* sets : {&kSets4, &kSets6}) {
      for (const SetName* set :
           {&sets->returning, &sets->routed, &sets->ended_routed, &sets->ports_routed, &sets->via,
            &sets->out, &sets->exempt, &sets->foreign, &sets->foreign_ports, &sets->rewritten,
            &sets->rewritten_ports, &sets->blocked})
        TRY(sets_.know(*set));
    }
    for (const Segment& segment : segments_) {
      for (const auto* maps : {&segment.four, &segment.six}) {
        for (const SetName* set : {&maps->redirects, &maps->ended, &maps->ports})
          TRY(sets_.know(*set));
      }
    }
    if (auto made = make_last_guard(*netfilter_); !made) {
      log::warn("fallback_table_unavailable",
                {{"error", made.error()}, {"reason", "it needs Linux 5.12"}});
    } else
      TRY(fill_last_guard());
    auto added = add_delivery_route(*route_, interfaces_);
    return added ? Result<>() : pass(std::move(added));
  }

  int fd() const override { return changes_->fd(); }
  bool is_disturbed() override {
    news_.add(changes_->heard(netfilter_->port()));
    return news_.ours || news_.surroundings;
  }
  Result<std::string> repair() override {
    if (auto mended = mend(); !mended) {
      news_.ours = true;  // missing rules may be the reason
      return pass(std::move(mended));
    }
    if (!repaired_.empty() && !news_.by.empty()) repaired_ += " taken away by " + news_.by;
    news_ = {};
    return std::exchange(repaired_, {});
  }
  std::vector<IpAddress> led_anew() override { return std::exchange(led_anew_, {}); }
  ~NftSteering() override {
    if (keep_) return;
    if (auto gone = remove_tables(); !gone)
      log::error("tables_remove_failed", {{"error", gone.error()}});
    if (auto gone = remove_delivery_route(*route_); !gone)
      log::error("policy_route_remove_failed", {{"error", gone.error()}});
  }

  Result<> redirect(std::span<const Redirect> redirects) override {
    std::vector<Change> changes;
    std::set<IpAddress> hosts;
    for (const auto& [tuple, to, expires_in, ended] : redirects) {
      if (is_v4(tuple.local.ip) != is_v4(to)) {
        return fail(EAFNOSUPPORT, "cannot redirect {} to {}: another address family",
                    to_string(tuple), to_string(to));
      }
      if (hosts.insert(to.unmapped()).second) TRY(lead_to(changes, to.unmapped()));
      const auto living = maps_of_connections(to), over = maps_of_ended(to);
      TRY_LET(mine, map_to(ended ? over : living, to));
      for (const auto* maps : {&living, &over})
        put_only_in(changes, *maps, mine, to, key_of(tuple), expires_in);
      guard(changes, {expires_in ? Change::kRemove : Change::kPut,
                      &guard_of(tuple.local.ip).moved,
                      {key_of(tuple), {}, {}}});
    }
    return apply(changes);
  }
  Result<> remove_redirects(std::span<const FourTuple> tuples) override {
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      const Bytes key = key_of(tuple);
      for (const auto& maps :
           {maps_of_connections(tuple.local.ip), maps_of_ended(tuple.local.ip)}) {
        for (const SetName* map : maps)
          changes.push_back(remove(*map, key));
      }
      changes.push_back(remove(sets_of(tuple.local.ip).returning, key));
      guard(changes, remove(guard_of(tuple.local.ip).moved, key));
    }
    return apply(changes);
  }
  Result<std::vector<Redirect>> redirects() override {
    std::vector<Redirect> out;
    for (const int family : {AF_INET, AF_INET6}) {
      for (const SetName* map : maps_of_connections({.family = family})) {
        TRY_LET(elements, sets_.list(*map));
        for (const Element& element : elements) {
          if (auto to = IpAddress::from_bytes(element.data))
            out.push_back({tuple_of(element.key), *to, element.expires_in});
        }
      }
    }
    return out;
  }
  Result<> begin_return(const FourTuple& tuple, milliseconds timeout) override {
    return apply(put(sets_of(tuple.local.ip).returning, key_of(tuple), {}, timeout));
  }
  Result<> cancel_return(const FourTuple& tuple) override {
    return apply(remove(sets_of(tuple.local.ip).returning, key_of(tuple)));
  }

  Result<> track(const FourTuple& tuple, bool established) override {
    if (!can_track_) return {};
    auto done = net::track(*netfilter_, tuple, established);
    // The kernel searches for a module at each attempt, so the attempts stop.
    if (!done) can_track_ = done.error().code != EOPNOTSUPP;
    return done;
  }

  Result<> untrack(const FourTuple& tuple, milliseconds linger) override {
    return can_track_ ? net::untrack(*netfilter_, tuple, linger) : Result<>();
  }

  Result<> redirect_port(const SocketAddress& local, const IpAddress& to,
                         std::span<const FourTuple> staying) override {
    if (is_v4(local.ip) != is_v4(to)) {
      return fail(EAFNOSUPPORT, "cannot redirect {} to {}: another address family",
                  to_string(local), to_string(to));
    }
    std::vector<Change> changes = stays(staying, Change::kPut);
    TRY(lead_to(changes, to.unmapped()));
    TRY(add_only_in(changes, maps_of_ports(to), to, key_of(local), std::nullopt));
    guard(changes, put(guard_of(to).ports, key_of(local)));
    return apply(changes);
  }
  Result<> remove_port_redirect(const SocketAddress& local) override {
    const FamilySets& sets = sets_of(local.ip);
    std::vector<Change> changes;
    for (const SetName* map : maps_of_ports(local.ip))
      changes.push_back(remove(*map, key_of(local)));
    guard(changes, remove(guard_of(local.ip).ports, key_of(local)));
    TRY_LET(staying, sets_.list(sets.exempt));
    std::vector<FourTuple> tuples;
    for (const Element& element : staying) {
      if (const FourTuple tuple = tuple_of(element.key); key_of(tuple.local) == key_of(local))
        tuples.push_back(tuple);
    }
    std::ranges::move(stays(tuples, Change::kRemove), std::back_inserter(changes));
    return apply(changes);
  }
  Result<std::vector<SocketAddress>> redirected_ports() override {
    std::vector<SocketAddress> out;
    for (const int family : {AF_INET, AF_INET6}) {
      for (const SetName* map : maps_of_ports({.family = family})) {
        TRY_LET(elements, sets_.list(*map));
        for (const Element& element : elements)
          out.push_back(address_of(element.key));
      }
    }
    return out;
  }
  Result<> stay(std::span<const FourTuple> tuples) override {
    return apply(stays(tuples, Change::kPut));
  }
  Result<> unstay(std::span<const FourTuple> tuples) override {
    return apply(stays(tuples, Change::kRemove));
  }
  Result<> block_port(const SocketAddress& local, milliseconds timeout) override {
    return apply(put(sets_of(local.ip).blocked, key_of(local), {}, timeout));
  }
  Result<> unblock_port(const SocketAddress& local) override {
    return apply(remove(sets_of(local.ip).blocked, key_of(local)));
  }

  Result<> add_foreign_address(std::span<const ForeignAddress> guests) override {
    std::vector<Change> changes;
    for (const auto& [guest, expires_in] : guests) {
      const FamilySets& sets = sets_of(guest.local.ip);
      const bool port = guest.remote.port == 0;
      changes.push_back(put(port ? sets.foreign_ports : sets.foreign,
                            port ? key_of(guest.local) : key_of(guest), {}, expires_in));
    }
    return sets_.apply(changes);
  }
  Result<std::vector<ForeignAddress>> sheltered() override {
    std::vector<ForeignAddress> out;
    for (const FamilySets* sets : {&kSets4, &kSets6}) {
      TRY_LET(connections, sets_.list(sets->foreign));
      for (const Element& element : connections)
        out.push_back({tuple_of(element.key), element.expires_in});
      TRY_LET(ports, sets_.list(sets->foreign_ports));
      for (const Element& element : ports)
        out.push_back({{address_of(element.key), {}}, element.expires_in});
    }
    return out;
  }

  Result<bool> is_routed(const IpAddress& host) override {
    TRY_LET(way, way(host.unmapped()));
    return way.routed();
  }
  Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) override {
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      TRY_LET(change,
              given_back(sets_of(own).rewritten, key_of(arriving(tuple, own)), tuple.local));
      changes.push_back(std::move(change));
    }
    return apply(changes);
  }
  Result<> remove_readdress(std::span<const FourTuple> tuples, const IpAddress& own,
                            milliseconds linger) override {
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      const Bytes key = key_of(arriving(tuple, own));
      TRY_LET(there, sets_.find(sets_of(own).rewritten, key));
      if (there == bytes_of(tuple.local.ip))
        changes.push_back(put(sets_of(own).rewritten, key, *there, linger));
    }
    return apply(changes);
  }
  Result<> readdress_port(const SocketAddress& home, const IpAddress& own) override {
    TRY_LET(change,
            given_back(sets_of(own).rewritten_ports, key_of(SocketAddress{own, home.port}), home));
    return apply(change);
  }
  Result<> remove_readdress_port(const SocketAddress& home, const IpAddress& own) override {
    const Bytes key = key_of(SocketAddress{own, home.port});
    TRY_LET(there, sets_.find(sets_of(own).rewritten_ports, key));
    return there == bytes_of(home.ip) ? apply(remove(sets_of(own).rewritten_ports, key))
                                      : Result<>();
  }
  Result<std::vector<Readdressed>> readdressed() override {
    std::vector<Readdressed> out;
    const auto add = [&](FourTuple arriving, const Element& element) {
      const auto home = IpAddress::from_bytes(element.data);
      if (!home || element.expires_in) return;
      const IpAddress own = std::exchange(arriving.local.ip, *home);
      out.push_back({arriving, own});
    };
    for (const FamilySets* sets : {&kSets4, &kSets6}) {
      TRY_LET(connections, sets_.list(sets->rewritten));
      for (const Element& element : connections)
        add(tuple_of(element.key), element);
      TRY_LET(ports, sets_.list(sets->rewritten_ports));
      for (const Element& element : ports)
        add({address_of(element.key), {}}, element);
    }
    return out;
  }
  void keep(bool yes) override { keep_ = yes; }

 private:
  Result<> build(bool anew) {
    TRY(create_tables(*netfilter_, segments_, daemon_, anew));
    TRY_LET(now, fingerprint(*netfilter_));
    built_ = std::move(now);
    return {};
  }
  // Puts back whatever is missing, and notes it in repaired_.
  Result<> mend() {
    if (look_up(segments_)) built_.clear();
    if (news_.ours || built_.empty()) {
      TRY_LET(now, fingerprint(*netfilter_));
      if (built_.empty() || now != built_) {
        TRY(build(true));
        note("tables");
      }
      TRY_LET(elements, sets_.restore());
      if (elements > 0) note(fmt::format("{} elements", elements));
    }
    TRY_LET(routes, add_delivery_route(*route_, interfaces_));
    if (routes > 0) note(fmt::format("{} routing rules", routes));
    return renew_ways();
  }
  void note(const std::string& what) {
    // The note may be there already, from an earlier attempt.
    if (!repaired_.contains(what)) repaired_ += (repaired_.empty() ? "" : ", ") + what;
  }
  // Routes change, and an interface may have been created again with another number. The
  // entries of a host that cannot be reached now stay as they are.
  Result<> renew_ways() {
    ways_.clear();
    Result<> done;
    std::vector<Change> changes;
    for (const FamilySets* sets : {&kSets4, &kSets6}) {
      TRY_LET(known, sets_.list(sets->out));
      for (const Element& each : known)
        if (const auto host = IpAddress::from_bytes(each.key)) (void)add_way(changes, *host);
    }
    if (!changes.empty()) {
      TRY(sets_.apply(changes));
      note("ways to routers");
    }
    for (auto& [host, before] : led_by_) {
      const auto now = way(host);
      if (!now || *now == before) continue;
      auto led = lead_anew(host);
      if (led) {
        before = *now;
      } else if (done) {
        done = std::move(led);
      }
    }
    return done;
  }
  // Moves all redirects to this host to the map of its current next hop.
  Result<> lead_anew(const IpAddress& host) {
    std::vector<Change> changes;
    for (const auto& maps : {maps_of_connections(host), maps_of_ended(host), maps_of_ports(host)}) {
      for (const SetName* map : maps) {
        TRY_LET(elements, sets_.list(*map));
        std::erase_if(elements,
                      [data = bytes_of(host)](const Element& each) { return each.data != data; });
        if (elements.empty()) continue;
        TRY_LET(mine, map_to(maps, host));
        for (const Element& each : elements)
          put_only_in(changes, maps, mine, host, each.key, each.expires_in);
      }
    }
    if (changes.empty()) return {};
    TRY(add_way(changes, host));
    TRY(sets_.apply(changes));
    led_anew_.push_back(host);
    note("the way to " + to_string(host));
    return {};
  }
  Result<> fill_last_guard() {
    guarded_ = true;
    std::vector<Change> changes;
    TRY_LET(found, redirects());
    for (const Redirect& each : found) {
      if (!each.expires_in)
        changes.push_back(put(guard_of(each.tuple.local.ip).moved, key_of(each.tuple)));
    }
    TRY_LET(ports, redirected_ports());
    for (const SocketAddress& each : ports)
      changes.push_back(put(guard_of(each.ip).ports, key_of(each)));
    for (const auto& [sets, guard] : {std::pair(&kSets4, &kGuard4), std::pair(&kSets6, &kGuard6)}) {
      TRY_LET(staying, sets_.list(sets->exempt));
      for (Element& each : staying)
        changes.push_back(put(guard->exempt, std::move(each.key)));
    }
    return sets_.apply(changes);
  }
  void guard(std::vector<Change>& changes, Change change) const {
    if (guarded_) changes.push_back(std::move(change));
  }

  static Change put(const SetName& set, Bytes key, Bytes data = {},
                    std::optional<milliseconds> expires_in = {}) {
    return {Change::kPut, &set, {std::move(key), std::move(data), expires_in}};
  }
  static Change remove(const SetName& set, Bytes key) {
    return {Change::kRemove, &set, {std::move(key), {}, {}}};
  }
  Result<> apply(const Change& change) { return apply(std::span(&change, 1)); }
  Result<> apply(std::span<const Change> changes) {
    auto done = sets_.apply(changes);
    // Tables are created only by a thread in their own namespace; with daemon_ set, this
    // thread is in another one.
    if (done || done.error().code != ENOENT || daemon_ != 0) return done;
    news_.ours = true;  // somebody has just removed our tables; repair() will report it
    TRY(mend());
    return sets_.apply(changes);
  }

  std::vector<Change> stays(std::span<const FourTuple> tuples, Change::What what) const {
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      changes.push_back({what, &sets_of(tuple.local.ip).exempt, {key_of(tuple), {}, {}}});
      guard(changes, {what, &guard_of(tuple.local.ip).exempt, {key_of(tuple), {}, {}}});
    }
    return changes;
  }

  // The tuple in the packets that home has sent on through a router.
  static FourTuple arriving(const FourTuple& tuple, const IpAddress& own) {
    return {{own, tuple.local.port}, tuple.remote};
  }
  Result<Change> given_back(const SetName& set, Bytes key, const SocketAddress& home) {
    const Bytes data = bytes_of(home.ip);
    TRY_LET(other, sets_.find(set, key));
    if (other && *other != data)
      return fail(EADDRINUSE, "port {} is used for another home's connection", to_string(home));
    return put(set, std::move(key), data);
  }

  // Routes change rarely, but they do: a next hop older than this is looked up again.
  static constexpr std::chrono::seconds kFresh{1};
  Result<net::NextHop> way(const IpAddress& host) {
    auto& [found, at] = ways_[host];
    if (const auto now = std::chrono::steady_clock::now(); at + kFresh < now) {
      TRY_LET(way, net::next_hop_to(*route_, host));
      found = way;
      at = now;
    }
    return found;
  }
  // Returns the map for an importer, by its next hop: there is one map for each link, and
  // one for importers behind routers.
  Result<const SetName*> map_to(const std::vector<const SetName*>& maps,
                                const IpAddress& importer) {
    TRY_LET(way, way(importer.unmapped()));
    if (way.routed()) return maps.back();
    for (std::size_t i = 0; i < segments_.size(); ++i)
      if (segments_[i].index == way.interface) return maps[i];
    char name[IF_NAMESIZE] = "?";
    return fail(ENETUNREACH, "route to {} uses {}, which is not in 'interfaces'",
                to_string(importer), ::if_indextoname(way.interface, name) ? name : "?");
  }
  std::vector<const SetName*> maps_of_connections(const IpAddress& ip) const {
    std::vector<const SetName*> maps;
    maps.reserve(segments_.size() + 1);
    for (const Segment& segment : segments_)
      maps.push_back(&segment.maps_of(ip).redirects);
    maps.push_back(&sets_of(ip).routed);
    return maps;
  }
  std::vector<const SetName*> maps_of_ended(const IpAddress& ip) const {
    std::vector<const SetName*> maps;
    maps.reserve(segments_.size() + 1);
    for (const Segment& segment : segments_)
      maps.push_back(&segment.maps_of(ip).ended);
    maps.push_back(&sets_of(ip).ended_routed);
    return maps;
  }
  std::vector<const SetName*> maps_of_ports(const IpAddress& ip) const {
    std::vector<const SetName*> maps;
    maps.reserve(segments_.size() + 1);
    for (const Segment& segment : segments_)
      maps.push_back(&segment.maps_of(ip).ports);
    maps.push_back(&sets_of(ip).ports_routed);
    return maps;
  }
  // Puts the key into the importer's map and removes it from all others: the next
  // importer may be reached in another way than the last one.
  Result<> add_only_in(std::vector<Change>& changes, const std::vector<const SetName*>& maps,
                       const IpAddress& to, const Bytes& key,
                       std::optional<milliseconds> expires_in) {
    TRY_LET(mine, map_to(maps, to));
    put_only_in(changes, maps, mine, to, key, expires_in);
    return {};
  }
  static void put_only_in(std::vector<Change>& changes, const std::vector<const SetName*>& maps,
                          const SetName* mine, const IpAddress& to, const Bytes& key,
                          std::optional<milliseconds> expires_in) {
    for (const SetName* map : maps)
      changes.push_back(map == mine ? put(*map, key, bytes_of(to), expires_in) : remove(*map, key));
  }
  Result<> lead_to(std::vector<Change>& changes, const IpAddress& host) {
    TRY_LET(now, way(host));
    // try_emplace, because older redirects may use another next hop than the current one.
    led_by_.try_emplace(host, now);
    return add_way(changes, host);
  }
  // The next hop of a router is stored once per importer, not per connection.
  Result<> add_way(std::vector<Change>& changes, const IpAddress& host) {
    TRY_LET(way, way(host));
    if (!way.routed()) return {};
    const auto* index = reinterpret_cast<const std::uint8_t*>(&way.interface);
    const FamilySets& sets = sets_of(host);
    for (auto& [set, data] : {std::pair(&sets.out, Bytes(index, index + sizeof way.interface)),
                              std::pair(&sets.via, bytes_of(way.gateway))}) {
      TRY_LET(now, sets_.find(*set, bytes_of(host)));
      if (now != data) changes.push_back(put(*set, bytes_of(host), data));
    }
    return {};
  }

  unique_fd claim_;
  std::unique_ptr<Changes> changes_;
  std::unique_ptr<net::Netlink> netfilter_, route_;
  const std::vector<std::string> interfaces_;
  const ino_t daemon_;
  std::vector<Segment> segments_;  // the names in it do not move: sets_ refers to them by address
  Sets sets_;
  // The fingerprint of our tables as we created them; "": they must be created again.
  std::string built_;
  News news_;             // not handled by mend() yet
  std::string repaired_;  // by mend(), not reported yet
  bool can_track_ = true, keep_ = true, guarded_ = false;
  std::map<IpAddress, std::pair<net::NextHop, std::chrono::steady_clock::time_point>> ways_;
  std::map<IpAddress, net::NextHop> led_by_;  // the next hops used by our redirects
  std::vector<IpAddress> led_anew_;
};

}  // namespace

Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces,
                                                    ino_t daemon) {
  TRY_LET(claim, claim_namespace());
  TRY_LET(changes, Changes::open());
  TRY_LET(netfilter, net::Netlink::open(NETLINK_NETFILTER));
  TRY_LET(route, net::Netlink::open(NETLINK_ROUTE));
  TRY_LET(segments, segments_of(interfaces));
  auto steering =
      std::make_unique<NftSteering>(std::move(claim), std::move(changes), std::move(netfilter),
                                    std::move(route), interfaces, std::move(segments), daemon);
  TRY(steering->set_up());
  return steering;
}

Result<> flush() {
  TRY_LET(claim, claim_namespace());
  TRY_LET(route, net::Netlink::open(NETLINK_ROUTE));
  TRY(release_connections());
  TRY(remove_tables());
  return remove_delivery_route(*route);
}

}  // namespace sockmi::steer
