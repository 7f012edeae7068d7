#include "steer/namespaced_steering.h"

#include <linux/sockios.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "net/netlink.h"
#include "steer/nft_steering.h"

namespace sockmi::steer {
namespace {

// Returns whether packets are redirected. `for_good`: counts only redirects that do not
// expire.
Result<bool> has_redirects(Steering& steering, bool for_good) {
  TRY_LET(redirects, steering.redirects());
  TRY_LET(ports, steering.redirected_ports());
  return !ports.empty() || std::ranges::any_of(redirects, [&](const Redirect& each) {
    return !for_good || !each.expires_in;
  });
}

}  // namespace

NamespacedSteering::NamespacedSteering(std::unique_ptr<Steering> own)
    : own_(std::move(own)),
      watch_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (const auto own = own_namespace()) own_inode_ = own->inode;
  if (auto route = net::Netlink::open(NETLINK_ROUTE)) {
    route_ = std::move(*route);
  } else {
    log::error("netlink_open_failed", {{"error", route.error()}});
  }
  watch(*own_);
}

// The kernel removes the descriptor from the epoll set when the steering closes it.
void NamespacedSteering::watch(Steering& steering) const {
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (const auto* upkeep = dynamic_cast<Upkeep*>(&steering);
      upkeep && ::epoll_ctl(watch_.get(), EPOLL_CTL_ADD, upkeep->fd(), &event) != 0)
    log::error("tables_watch_failed", {{"error", fail_errno("cannot use epoll").error()}});
}

bool NamespacedSteering::is_disturbed() {
  const auto read = [](Steering& steering) {
    auto* upkeep = dynamic_cast<Upkeep*>(&steering);
    return upkeep && upkeep->is_disturbed();
  };
  disturbed_ |= read(*own_);
  bool any = disturbed_;
  for (const auto& [inode, place] : places_)
    any |= place->disturbed |= read(*place->steering);
  return any;
}

Result<std::string> NamespacedSteering::repair() {
  std::string all;
  const auto repair_one = [&all](Steering& steering, bool& disturbed,
                                 const std::string& where) -> Result<> {
    TRY_LET(what, dynamic_cast<Upkeep&>(steering).repair());
    disturbed = false;
    if (!what.empty()) all += (all.empty() ? "" : "; ") + what + where;
    return {};
  };
  Result<> result;
  if (disturbed_) result = repair_one(*own_, disturbed_, "");
  for (const auto& [inode, place] : places_) {
    if (!place->disturbed) continue;
    auto done = call_in(place->handle.get(), [&] {
      return repair_one(*place->steering, place->disturbed, fmt::format(" in namespace {}", inode));
    });
    if (!done && result) result = std::move(done);
  }
  if (!result) {
    if (!all.empty()) log::warn("rules_partly_repaired", {{"repaired", all}});
    return pass(std::move(result));
  }
  return all;
}

NamespacedSteering::~NamespacedSteering() = default;

NamespacedSteering::Place::~Place() {
  if (!steering) return;
  auto gone = call_in(handle.get(), [this]() -> Result<> {
    steering->keep(has_redirects(*steering, true).value_or(true));
    steering.reset();
    return {};
  });
  if (!gone) log::error("namespace_cleanup_failed", {{"error", gone.error()}});
}

Result<> NamespacedSteering::track_namespace(int socket, const IpAddress& local) {
  unique_fd handle(::ioctl(socket, SIOCGSKNS));
  if (!handle) return fail_errno("cannot find the socket's network namespace");
  TRY_LET(inode, inode_of(handle.get()));
  const IpAddress address = local.unmapped();
  const auto other = places_of_.find(address);
  const bool is_free = other == places_of_.end();
  if (inode == own_inode_) {
    if (is_free) return {};
    // A socket in our namespace does not prove that the address is ours: with IP_FREEBIND
    // it may be bound to any address.
    if (!is_our_own(address)) {
      return fail(EADDRINUSE, "address {} belongs to another network namespace",
                  to_string(address));
    }
    places_of_.erase(other);
    return {};
  }
  TRY(check_owner(handle.get()));
  if (is_our_own(address)) {
    return fail(EADDRINUSE, "address {} belongs to the host's own network namespace",
                to_string(address));
  }
  if (const auto known = places_.find(inode);
      !is_free && (known == places_.end() || other->second != known->second.get()) &&
      has_redirects(*other->second->steering, false).value_or(true)) {
    return fail(EADDRINUSE,
                "address {} belongs to another network namespace, whose connections live elsewhere",
                to_string(address));
  }
  auto& place = places_[inode];
  if (!place) {
    auto opened = open(std::move(handle));
    if (!opened) {
      places_.erase(inode);
      return pass(std::move(opened));
    }
    place = std::move(*opened);
    log::info("namespace_served", {{"namespace", inode}, {"address", address}});
  }
  place->last_tracked = std::chrono::steady_clock::now();
  // Addresses of loopback or behind NAT are not among them: no neighbor could reach them
  // on another host.
  if (std::ranges::find(place->addresses, address, &net::HostAddress::ip) ==
      place->addresses.end()) {
    return fail(ENOTSUP,
                "address {} of the connection's network namespace cannot be reached on its link",
                to_string(address));
  }
  places_of_[address] = place.get();
  return {};
}

Result<std::unique_ptr<NamespacedSteering::Place>> NamespacedSteering::open(
    unique_fd handle) const {
  auto place = std::make_unique<Place>();
  place->handle = std::move(handle);
  TRY(call_in(place->handle.get(), [&]() -> Result<> {
    TRY_LET(addresses, net::host_addresses());
    std::erase_if(addresses, &net::HostAddress::loopback);
    std::set<std::string> interfaces;
    for (const net::HostAddress& each : addresses) {
      char name[IF_NAMESIZE];
      if (::if_indextoname(each.interface, name)) interfaces.insert(name);
    }
    place->addresses = std::move(addresses);
    TRY_LET(steering, make_nft_steering({interfaces.begin(), interfaces.end()}, own_inode_));
    place->steering = std::move(steering);
    watch(*place->steering);
    return {};
  }));
  return place;
}

Result<std::size_t> NamespacedSteering::adopt() {
  TRY_LET(own, net::host_addresses());
  Served served = served_from(own_inode_);
  for (auto& [handle, inode] : served.namespaces) {
    auto opened = open(std::move(handle));
    auto adopted =
        opened ? adopt(std::move(*opened), inode, own) : Result<>(std::unexpected(opened.error()));
    if (adopted) continue;
    ++served.closed;
    log::warn("namespace_recover_failed", {{"namespace", inode}, {"error", adopted.error()}});
  }
  return served.closed;
}

// What a container says does not count for addresses that are ours, or that it no longer
// has.
Result<> NamespacedSteering::adopt(std::unique_ptr<Place> place, ino_t inode,
                                   std::span<const net::HostAddress> own) {
  const auto is_its = [&](const IpAddress& ip) {
    return std::ranges::find(place->addresses, ip, &net::HostAddress::ip) !=
               place->addresses.end() &&
           std::ranges::find(own, ip, &net::HostAddress::ip) == own.end() &&
           !places_of_.contains(ip);
  };
  std::vector<FourTuple> not_its_own;
  TRY_LET(redirects, place->steering->redirects());
  for (const Redirect& each : redirects)
    if (!is_its(each.tuple.local.ip)) not_its_own.push_back(each.tuple);
  TRY(place->steering->remove_redirects(not_its_own));
  TRY_LET(ports, place->steering->redirected_ports());
  for (const SocketAddress& each : ports)
    if (!is_its(each.ip)) TRY(place->steering->remove_port_redirect(each));

  std::string addresses;
  for (const net::HostAddress& each : place->addresses) {
    if (!is_its(each.ip)) continue;
    places_of_[each.ip] = place.get();
    addresses += (addresses.empty() ? "" : ",") + to_string(each.ip);
  }
  log::info("namespace_recovered", {{"namespace", inode}, {"address", addresses}});
  place->last_tracked = std::chrono::steady_clock::now();
  places_[inode] = std::move(place);
  return {};
}

// Returns true if the addresses cannot be read: then no other namespace gets the address.
bool NamespacedSteering::is_our_own(const IpAddress& address) const {
  if (!route_) return true;
  const auto own = net::host_addresses(*route_);
  return !own || std::ranges::find(*own, address, &net::HostAddress::ip) != own->end();
}

// The host may have got the address in the meantime, so this is checked each time.
NamespacedSteering::Place* NamespacedSteering::place_of(const IpAddress& local) const {
  const auto it = places_of_.find(local.unmapped());
  return it == places_of_.end() || is_our_own(it->first) ? nullptr : it->second;
}

Steering& NamespacedSteering::at(const IpAddress& local) const {
  const Place* place = place_of(local);
  return place ? *place->steering : *own_;
}

Result<> NamespacedSteering::within(const IpAddress& local,
                                    const std::function<Result<>()>& function) const {
  const Place* place = place_of(local);
  return place ? call_in(place->handle.get(), function) : function();
}

void NamespacedSteering::within_others(const std::function<Result<>()>& function) const {
  for (const auto& [inode, place] : places_) {
    if (auto done = call_in(place->handle.get(), function); !done)
      log::error("namespace_call_failed", {{"namespace", inode}, {"error", done.error()}});
  }
}

namespace {

const IpAddress& local_of(const Redirect& redirect) {
  return redirect.tuple.local.ip;
}
const IpAddress& local_of(const FourTuple& tuple) {
  return tuple.local.ip;
}

}  // namespace

template <class Item>
std::map<Steering*, std::vector<Item>> NamespacedSteering::part(std::span<const Item> items) const {
  std::map<IpAddress, Steering*> known;  // many items share an address
  std::map<Steering*, std::vector<Item>> parts;
  for (const Item& item : items) {
    Steering*& steering = known[local_of(item).unmapped()];
    if (!steering) steering = &at(local_of(item));
    parts[steering].push_back(item);
  }
  return parts;
}

Result<> NamespacedSteering::redirect(std::span<const Redirect> redirects) const {
  for (const auto& [steering, theirs] : part(redirects))
    TRY(steering->redirect(theirs));
  return {};
}

Result<> NamespacedSteering::remove_redirects(std::span<const FourTuple> tuples) const {
  for (const auto& [steering, theirs] : part(tuples))
    TRY(steering->remove_redirects(theirs));
  return {};
}

Result<std::vector<Redirect>> NamespacedSteering::redirects() const {
  TRY_LET(all, own_->redirects());
  for (const auto& [inode, place] : places_) {
    TRY_LET(there, place->steering->redirects());
    std::ranges::move(there, std::back_inserter(all));
  }
  return all;
}

Result<std::vector<SocketAddress>> NamespacedSteering::redirected_ports() const {
  TRY_LET(all, own_->redirected_ports());
  for (const auto& [inode, place] : places_) {
    TRY_LET(there, place->steering->redirected_ports());
    std::ranges::move(there, std::back_inserter(all));
  }
  return all;
}

void NamespacedSteering::forget_idle(std::chrono::milliseconds idle) {
  const auto deadline = std::chrono::steady_clock::now() - idle;
  std::erase_if(places_, [&](auto& entry) {
    Place& place = *entry.second;
    if (place.last_tracked > deadline) return false;
    if (has_redirects(*place.steering, false).value_or(true)) return false;
    std::erase_if(places_of_, [&](const auto& each) { return each.second == &place; });
    return true;
  });
}

Result<std::size_t> flush_others() {
  TRY_LET(own, own_namespace());
  const Served served = served_from(own.inode);
  Result<> result;
  for (const NetworkNamespace& each : served.namespaces) {
    if (auto flushed = call_in(each.handle.get(), flush); !flushed && result)
      result = std::move(flushed);
  }
  if (!result) return pass(std::move(result));
  return served.closed;
}

}  // namespace sockmi::steer
