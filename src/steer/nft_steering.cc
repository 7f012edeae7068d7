// Translates the operations of Steering to changes of set elements. nft_tables.cc
// describes what the elements do to packets.
#include "steer/nft_steering.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/unique_fd.h"
#include "net/conntrack.h"
#include "steer/boot_filter.h"
#include "steer/fallback_table.h"
#include "steer/kept_tables.h"
#include "steer/nft_keys.h"
#include "steer/policy_route.h"
#include "steer/redirect_maps.h"
#include "steer/ruleset_monitor.h"
#include "steer/table_lock.h"

namespace sockmi::steer {
namespace {

using std::chrono::milliseconds;
using Kind = RedirectMaps::Kind;

// The tuple in the packets that home has sent on through a router.
FourTuple arriving(const FourTuple& tuple, const IpAddress& own) {
  return {{own, tuple.local.port}, tuple.remote};
}

class NftSteering : public Steering, public Upkeep {
 public:
  // `on_link_of`: see RedirectMaps.
  NftSteering(unique_fd claim, std::unique_ptr<KeptTables> tables,
              std::unique_ptr<net::Netlink> route, std::vector<std::string> interfaces,
              std::optional<RedirectMaps::Addresses> on_link_of)
      : claim_(std::move(claim)),
        tables_(std::move(tables)),
        route_(std::move(route)),
        interfaces_(std::move(interfaces)),
        maps_(*tables_, *route_, std::move(on_link_of)) {}
  ~NftSteering() override {
    if (keep_) return;
    if (auto gone = remove_tables(); !gone)
      log::error("tables_remove_failed", {{"error", gone.error()}});
    if (auto gone = remove_delivery_route(*route_); !gone)
      log::error("policy_route_remove_failed", {{"error", gone.error()}});
  }

  Result<> set_up() {
    TRY(tables_->create());
    if (auto made = create_fallback_table(tables_->netfilter()); !made) {
      log::warn("fallback_table_unavailable",
                {{"error", made.error()}, {"reason", "it needs Linux 5.12"}});
    } else {
      TRY(fill_fallback_table());
    }
    auto added = add_delivery_route(*route_, interfaces_);
    return added ? Result<>() : pass(std::move(added));
  }

  int fd() const override { return tables_->fd(); }
  bool is_disturbed() override { return tables_->is_disturbed(); }
  Result<std::string> repair() override {
    if (auto repaired = repair_all(); !repaired) {
      tables_->mark_changed();
      return pass(std::move(repaired));
    }
    return tables_->take_report();
  }
  std::vector<IpAddress> take_rerouted() override { return maps_.take_rerouted(); }
  void keep(bool yes) override { keep_ = yes; }

  Result<> redirect(std::span<const Redirect> redirects) override {
    std::vector<Change> changes;
    std::set<IpAddress> importers;
    for (const auto& [tuple, to, expires_in, ended] : redirects) {
      if (is_v4(tuple.local.ip) != is_v4(to)) {
        return fail(EAFNOSUPPORT, "cannot redirect {} to {}: another address family",
                    to_string(tuple), to_string(to));
      }
      if (importers.insert(to.unmapped()).second) TRY(maps_.add_importer(changes, to));
      const Bytes key = key_of(tuple);
      const Kind kind = ended ? Kind::EndedConnections : Kind::Connections;
      TRY(maps_.add_redirect(changes, kind, key, to, expires_in));
      const SetName& moved = fallback_sets_of(tuple.local.ip).moved;
      add_fallback(changes, expires_in ? remove_element(moved, key) : put_element(moved, key));
    }
    return tables_->apply(changes);
  }
  Result<> remove_redirects(std::span<const FourTuple> tuples) override {
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      const Bytes key = key_of(tuple);
      for (const Kind kind : {Kind::Connections, Kind::EndedConnections}) {
        for (const SetName* map : maps_.all(kind, tuple.local.ip))
          changes.push_back(remove_element(*map, key));
      }
      changes.push_back(remove_element(sets_of(tuple.local.ip).returning, key));
      add_fallback(changes, remove_element(fallback_sets_of(tuple.local.ip).moved, key));
    }
    return tables_->apply(changes);
  }
  Result<std::vector<Redirect>> redirects() override {
    std::vector<Redirect> out;
    for (const int family : {AF_INET, AF_INET6}) {
      for (const SetName* map : maps_.all(Kind::Connections, {.family = family})) {
        TRY_LET(elements, tables_->sets().list(*map));
        for (const Element& element : elements) {
          if (auto to = IpAddress::from_bytes(element.data))
            out.push_back({tuple_of(element.key), *to, element.expires_in});
        }
      }
    }
    return out;
  }
  Result<> begin_return(const FourTuple& tuple, milliseconds timeout) override {
    return tables_->apply(
        put_element(sets_of(tuple.local.ip).returning, key_of(tuple), {}, timeout));
  }
  Result<> cancel_return(const FourTuple& tuple) override {
    return tables_->apply(remove_element(sets_of(tuple.local.ip).returning, key_of(tuple)));
  }

  Result<> track(const FourTuple& tuple, bool established) override {
    if (!can_track_) return {};
    auto done = net::track(tables_->netfilter(), tuple, established);
    // The kernel searches for a module at each attempt, so the attempts stop.
    if (!done) can_track_ = done.error().code != EOPNOTSUPP;
    return done;
  }
  Result<> untrack(const FourTuple& tuple, milliseconds linger) override {
    return can_track_ ? net::untrack(tables_->netfilter(), tuple, linger) : Result<>();
  }

  Result<> redirect_port(const SocketAddress& local, const IpAddress& to,
                         std::span<const FourTuple> exempt) override {
    if (is_v4(local.ip) != is_v4(to)) {
      return fail(EAFNOSUPPORT, "cannot redirect {} to {}: another address family",
                  to_string(local), to_string(to));
    }
    std::vector<Change> changes;
    for (const FourTuple& tuple : exempt) {
      changes.push_back(put_element(sets_of(tuple.local.ip).exempt, key_of(tuple)));
      add_fallback(changes, put_element(fallback_sets_of(tuple.local.ip).exempt, key_of(tuple)));
    }
    TRY(maps_.add_importer(changes, to));
    TRY(maps_.add_redirect(changes, Kind::Ports, key_of(local), to, std::nullopt));
    add_fallback(changes, put_element(fallback_sets_of(to).ports, key_of(local)));
    return tables_->apply(changes);
  }
  Result<> remove_port_redirect(const SocketAddress& local) override {
    const Bytes port = key_of(local);
    std::vector<Change> changes;
    for (const SetName* map : maps_.all(Kind::Ports, local.ip))
      changes.push_back(remove_element(*map, port));
    add_fallback(changes, remove_element(fallback_sets_of(local.ip).ports, port));
    const SetName& exempt = sets_of(local.ip).exempt;
    TRY_LET(elements, tables_->sets().list(exempt));
    for (const Element& element : elements) {
      if (key_of(tuple_of(element.key).local) != port) continue;
      changes.push_back(remove_element(exempt, element.key));
      add_fallback(changes, remove_element(fallback_sets_of(local.ip).exempt, element.key));
    }
    return tables_->apply(changes);
  }
  Result<std::vector<SocketAddress>> redirected_ports() override {
    std::vector<SocketAddress> out;
    for (const int family : {AF_INET, AF_INET6}) {
      for (const SetName* map : maps_.all(Kind::Ports, {.family = family})) {
        TRY_LET(elements, tables_->sets().list(*map));
        for (const Element& element : elements)
          out.push_back(address_of(element.key));
      }
    }
    return out;
  }
  Result<> block_port(const SocketAddress& local, milliseconds timeout) override {
    return tables_->apply(put_element(sets_of(local.ip).blocked, key_of(local), {}, timeout));
  }
  Result<> unblock_port(const SocketAddress& local) override {
    return tables_->apply(remove_element(sets_of(local.ip).blocked, key_of(local)));
  }

  Result<> add_foreign_addresses(std::span<const ForeignAddress> addresses) override {
    std::vector<Change> changes;
    for (const auto& [connection, expires_in] : addresses) {
      const FamilySets& sets = sets_of(connection.local.ip);
      if (connection.remote.port == 0) {
        changes.push_back(
            put_element(sets.foreign_ports, key_of(connection.local), {}, expires_in));
      } else {
        changes.push_back(put_element(sets.foreign, key_of(connection), {}, expires_in));
      }
    }
    return tables_->sets().apply(changes);
  }
  Result<std::vector<ForeignAddress>> foreign_addresses() override {
    std::vector<ForeignAddress> out;
    for (const FamilySets* sets : {&kSets4, &kSets6}) {
      TRY_LET(connections, tables_->sets().list(sets->foreign));
      for (const Element& element : connections)
        out.push_back({tuple_of(element.key), element.expires_in});
      TRY_LET(ports, tables_->sets().list(sets->foreign_ports));
      for (const Element& element : ports)
        out.push_back({{address_of(element.key), {}}, element.expires_in});
    }
    return out;
  }

  Result<bool> is_routed(const IpAddress& host) override {
    TRY_LET(hop, maps_.next_hop_to(host.unmapped()));
    return hop.routed();
  }
  Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) override {
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      TRY_LET(change, rewriting(sets_of(own).rewritten, key_of(arriving(tuple, own)), tuple.local));
      changes.push_back(std::move(change));
    }
    return tables_->apply(changes);
  }
  Result<> stop_rewriting(std::span<const FourTuple> tuples, const IpAddress& own,
                          milliseconds linger) override {
    const SetName& rewritten = sets_of(own).rewritten;
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      const Bytes key = key_of(arriving(tuple, own));
      TRY_LET(home, tables_->sets().find(rewritten, key));
      if (home == bytes_of(tuple.local.ip))
        changes.push_back(put_element(rewritten, key, *home, linger));
    }
    return tables_->apply(changes);
  }
  Result<> rewrite_port(const SocketAddress& home, const IpAddress& own) override {
    TRY_LET(change,
            rewriting(sets_of(own).rewritten_ports, key_of(SocketAddress{own, home.port}), home));
    return tables_->apply(change);
  }
  Result<> stop_rewriting_port(const SocketAddress& home, const IpAddress& own) override {
    const SetName& rewritten = sets_of(own).rewritten_ports;
    const Bytes key = key_of(SocketAddress{own, home.port});
    TRY_LET(present, tables_->sets().find(rewritten, key));
    return present == bytes_of(home.ip) ? tables_->apply(remove_element(rewritten, key))
                                        : Result<>();
  }
  Result<std::vector<RewrittenDestination>> rewritten_destinations() override {
    std::vector<RewrittenDestination> out;
    const auto add = [&](FourTuple arriving, const Element& element) {
      const auto home = IpAddress::from_bytes(element.data);
      if (!home || element.expires_in) return;
      const IpAddress own = std::exchange(arriving.local.ip, *home);
      out.push_back({arriving, own});
    };
    for (const FamilySets* sets : {&kSets4, &kSets6}) {
      TRY_LET(connections, tables_->sets().list(sets->rewritten));
      for (const Element& element : connections)
        add(tuple_of(element.key), element);
      TRY_LET(ports, tables_->sets().list(sets->rewritten_ports));
      for (const Element& element : ports)
        add({address_of(element.key), {}}, element);
    }
    return out;
  }

 private:
  // Puts back whatever is missing.
  Result<> repair_all() {
    TRY(tables_->repair());
    TRY_LET(routes, add_delivery_route(*route_, interfaces_));
    if (routes > 0) tables_->note(fmt::format("{} routing rules", routes));
    return maps_.renew();
  }

  Result<> fill_fallback_table() {
    has_fallback_ = true;
    std::vector<Change> changes;
    TRY_LET(found, redirects());
    for (const Redirect& each : found) {
      if (!each.expires_in) {
        changes.push_back(
            put_element(fallback_sets_of(each.tuple.local.ip).moved, key_of(each.tuple)));
      }
    }
    TRY_LET(ports, redirected_ports());
    for (const SocketAddress& each : ports)
      changes.push_back(put_element(fallback_sets_of(each.ip).ports, key_of(each)));
    for (const auto& [sets, fallback] :
         {std::pair(&kSets4, &kFallbackSets4), std::pair(&kSets6, &kFallbackSets6)}) {
      TRY_LET(exempt, tables_->sets().list(sets->exempt));
      for (Element& each : exempt)
        changes.push_back(put_element(fallback->exempt, std::move(each.key)));
    }
    return tables_->sets().apply(changes);
  }
  void add_fallback(std::vector<Change>& changes, Change change) const {
    if (has_fallback_) changes.push_back(std::move(change));
  }

  Result<Change> rewriting(const SetName& set, Bytes key, const SocketAddress& home) {
    const Bytes data = bytes_of(home.ip);
    TRY_LET(other, tables_->sets().find(set, key));
    if (other && *other != data)
      return fail(EADDRINUSE, "port {} is used for another home's connection", to_string(home));
    return put_element(set, std::move(key), data);
  }

  unique_fd claim_;
  std::unique_ptr<KeptTables> tables_;
  std::unique_ptr<net::Netlink> route_;
  const std::vector<std::string> interfaces_;
  RedirectMaps maps_;
  bool can_track_ = true, keep_ = true, has_fallback_ = false;
};

}  // namespace

Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces,
                                                    ino_t daemon) {
  TRY_LET(claim, claim_namespace());
  TRY_LET(tables, KeptTables::open(interfaces, daemon));
  TRY_LET(route, net::Netlink::open(NETLINK_ROUTE));
  // The holders of a container's connections are on its link.
  std::optional<RedirectMaps::Addresses> on_link_of;
  if (daemon != 0) {
    TRY_LET(addresses, net::host_addresses(*route));
    std::erase_if(addresses, &net::HostAddress::loopback);
    on_link_of = std::move(addresses);
  }
  auto steering = std::make_unique<NftSteering>(
      std::move(claim), std::move(tables), std::move(route), interfaces, std::move(on_link_of));
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
