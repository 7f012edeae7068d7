#include "steer/namespaces.h"

#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <thread>

#include "base/log.h"

namespace sockmi::steer {
namespace {

// A thread can enter a namespace by itself; one that has is used for nothing else. Sockets that it opens stay there.
Result<> call_in(int handle, const std::function<Result<>()>& function) {
  Result<> result;
  std::thread([&] {
    result = ::setns(handle, CLONE_NEWNET) == 0 ? function() : fail_errno("entering another network namespace (wants CAP_SYS_ADMIN)");
  }).join();
  return result;
}

Result<std::pair<dev_t, ino_t>> identify(int handle) {
  struct stat status {};
  if (::fstat(handle, &status) != 0) return fail_errno("network namespace");
  return std::pair(status.st_dev, status.st_ino);
}

}  // namespace

NamespacedSteering::NamespacedSteering(std::unique_ptr<Steering> ours) : ours_(std::move(ours)) {
  const unique_fd own(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (const auto id = identify(own.get())) our_id_ = *id;
}

NamespacedSteering::~NamespacedSteering() = default;

NamespacedSteering::Place::~Place() {
  if (!steering) return;
  auto gone = call_in(handle.get(), [this]() -> Result<> {
    steering.reset();
    return {};
  });
  if (!gone) log::error("event=namespace_left error=\"{}\"", to_string(gone.error()));
}

Result<> NamespacedSteering::learn(int socket, const IpAddress& local) {
  unique_fd handle(::ioctl(socket, SIOCGSKNS));
  if (!handle) return fail_errno("finding the socket's network namespace");
  TRY_LET(id, identify(handle.get()));
  const IpAddress address = local.unmapped();
  if (id == our_id_) {
    places_of_.erase(address);
    return {};
  }
  auto& place = places_[id];
  if (!place) {
    auto opened = open(std::move(handle));
    if (!opened) {
      places_.erase(id);
      return pass(std::move(opened));
    }
    place = std::move(*opened);
    log::info("event=namespace_served inode={} address={}", id.second, to_string(address));
  }
  place->last_learnt = std::chrono::steady_clock::now();
  // Loopback and NAT have no neighbour who could reach it elsewhere.
  if (std::ranges::find(place->addresses, address, &HostAddress::ip) == place->addresses.end())
    return fail(ENOTSUP, "{} is no address of the connection's network namespace that its segment can reach", to_string(address));
  places_of_[address] = place.get();
  return {};
}

Result<std::unique_ptr<NamespacedSteering::Place>> NamespacedSteering::open(unique_fd handle) {
  auto place = std::make_unique<Place>();
  place->handle = std::move(handle);
  TRY(call_in(place->handle.get(), [&]() -> Result<> {
    TRY_LET(addresses, host_addresses());
    std::erase_if(addresses, &HostAddress::loopback);
    std::set<std::string> interfaces;
    for (const HostAddress& each : addresses) {
      char name[IF_NAMESIZE];
      if (::if_indextoname(each.interface, name)) interfaces.insert(name);
    }
    place->addresses = std::move(addresses);
    TRY_LET(steering, make_nft_steering({interfaces.begin(), interfaces.end()}));
    steering->keep(false);
    place->steering = std::move(steering);
    return {};
  }));
  return place;
}

Steering& NamespacedSteering::at(const IpAddress& local) const {
  const auto it = places_of_.find(local.unmapped());
  return it == places_of_.end() ? *ours_ : *it->second->steering;
}

Result<> NamespacedSteering::within(const IpAddress& local, const std::function<Result<>()>& function) const {
  const auto it = places_of_.find(local.unmapped());
  return it == places_of_.end() ? function() : call_in(it->second->handle.get(), function);
}

namespace {
const IpAddress& local_of(const Redirect& redirect) { return redirect.tuple.local.ip; }
const IpAddress& local_of(const FourTuple& tuple) { return tuple.local.ip; }
}  // namespace

template <class Item>
Result<> NamespacedSteering::part(std::span<const Item> items, const std::function<Result<>(Steering&, std::span<const Item>)>& step) const {
  if (places_of_.empty()) return step(*ours_, items);
  std::map<Steering*, std::vector<Item>> parts;
  for (const Item& item : items) parts[&at(local_of(item))].push_back(item);
  for (const auto& [steering, those] : parts) TRY(step(*steering, those));
  return {};
}

Result<> NamespacedSteering::redirect(std::span<const Redirect> redirects) {
  for (const auto& [tuple, to, expires_in] : redirects) {
    const auto it = places_of_.find(tuple.local.ip.unmapped());
    if (it == places_of_.end()) continue;
    const auto reaches = [&](const HostAddress& each) { return to.family == each.ip.family && to.in_prefix(each.ip, each.prefix); };
    if (std::ranges::none_of(it->second->addresses, reaches))
      return fail(ENETUNREACH, "{} is not on the segment of the connection's network namespace", to_string(to));
  }
  return part<Redirect>(redirects, [](Steering& steering, std::span<const Redirect> those) { return steering.redirect(those); });
}

Result<> NamespacedSteering::remove_redirects(std::span<const FourTuple> tuples) {
  return part<FourTuple>(tuples, [](Steering& steering, std::span<const FourTuple> those) { return steering.remove_redirects(those); });
}

Result<> NamespacedSteering::stay(std::span<const FourTuple> tuples) {
  return part<FourTuple>(tuples, [](Steering& steering, std::span<const FourTuple> those) { return steering.stay(those); });
}

Result<> NamespacedSteering::unstay(std::span<const FourTuple> tuples) {
  return part<FourTuple>(tuples, [](Steering& steering, std::span<const FourTuple> those) { return steering.unstay(those); });
}

Result<> NamespacedSteering::forget_tracked(std::span<const FourTuple> tuples) {
  return part<FourTuple>(tuples, [](Steering& steering, std::span<const FourTuple> those) { return steering.forget_tracked(those); });
}

Result<std::vector<Redirect>> NamespacedSteering::redirects() {
  TRY_LET(all, ours_->redirects());
  for (const auto& [id, place] : places_) {
    TRY_LET(there, place->steering->redirects());
    std::ranges::move(there, std::back_inserter(all));
  }
  return all;
}

void NamespacedSteering::forget_idle(std::chrono::milliseconds idle) {
  const auto deadline = std::chrono::steady_clock::now() - idle;
  std::erase_if(places_, [&](auto& entry) {
    Place& place = *entry.second;
    if (place.last_learnt > deadline) return false;
    const auto there = place.steering->redirects();
    if (!there || !there->empty()) return false;
    std::erase_if(places_of_, [&](const auto& each) { return each.second == &place; });
    return true;
  });
}

}  // namespace sockmi::steer
