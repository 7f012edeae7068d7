#include "takeover/taken_addresses.h"

#include <net/if.h>

#include <algorithm>

#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"
#include "takeover/address_probe.h"

namespace sockmi::daemon {
namespace {

using net::HostAddress;

constexpr std::chrono::seconds kWatchPeriod{10};

std::string doubled(const IpAddress& address) {
  return fmt::format(
      "{}, which was taken over, is an address of another host, too: remove it from one of the two",
      to_string(address));
}

}  // namespace

bool may_be_taken_over(const Settings& settings, const IpAddress& address) {
  return std::ranges::any_of(settings.takeover, [&](const Match& allowed) {
    return !allowed.ip.any() && allowed.fits({address, 0});
  });
}

void TakenAddresses::recover() {
  for (const TakenOver& address : connections_.table.journal().taken_over()) {
    if (!may_be_taken_over(connections_.services.settings, address.ip)) {
      connections_.table.log_given_up(address.ip);
      log::warn("address_given_up", {{"address", address.ip},
                                     {"reason", "takeover.addresses does not list it any more"}});
      continue;
    }
    all_[address.ip] = address;
    kept_[address.ip] = {address.from};
  }
}

void TakenAddresses::add(const TakenOver& address) {
  kept_[address.ip] = {address.from};
  all_[address.ip] = address;
  connections_.table.log_taken_over(address);
}

bool TakenAddresses::is_kept_from(const IpAddress& address, const std::string& from) const {
  const auto kept = kept_.find(address);
  return kept != kept_.end() && kept->second.from == from;
}

std::optional<TakenOver> TakenAddresses::set_aside(const IpAddress& address) {
  const auto node = all_.extract(address);
  return node ? std::optional(node.mapped()) : std::nullopt;
}

void TakenAddresses::forget(const IpAddress& address) {
  all_.erase(address);
  kept_.erase(address);
  connections_.table.log_given_up(address);
}

void TakenAddresses::put_back_missing(const std::vector<HostAddress>& here) {
  for (const auto& [ip, address] : all_) {
    if (std::ranges::find(here, ip, &HostAddress::ip) == here.end() && missing_.insert(ip).second)
      spawn(connections_.services.io, "put_back", put_back(address));
  }
}

asio::awaitable<void> TakenAddresses::put_back(TakenOver taken) {
  const HostAddress address{.ip = taken.ip,
                            .prefix = taken.prefix,
                            .interface = ::if_nametoindex(taken.interface.c_str()),
                            .deprecated = taken.deprecated};
  const auto elsewhere = co_await is_elsewhere(address, kQuickProbe);
  missing_.erase(taken.ip);
  if (!all_.contains(taken.ip)) co_return;  // it was given away meanwhile
  if (elsewhere && *elsewhere) {
    forget(taken.ip);
    log::warn("address_lost",
              {{"address", taken.ip},
               {"reason", "this host does not have it any more, and another host has it"}});
    co_return;
  }
  const auto added =
      elsewhere ? net::add_address(address, std::nullopt) : std::unexpected(elsewhere.error());
  if (!added) {
    log::error("address_restore_failed", {{"address", taken.ip}, {"error", added.error()}});
    co_return;  // the next attempt follows
  }
  log::warn("address_restored",
            {{"address", taken.ip},
             {"reason", "it was taken over, and this host did not have it any more"}});
  kept_[taken.ip] = {taken.from};
  co_await announce(address);
}

asio::awaitable<void> TakenAddresses::watch() {
  for (;;) {
    co_await sleep_for(kWatchPeriod);
    std::vector<IpAddress> addresses;  // a copy: kept_ changes meanwhile
    addresses.reserve(kept_.size());
    for (const auto& [address, kept] : kept_)
      addresses.push_back(address);
    for (const IpAddress& address : addresses)
      co_await find_second_holder(address);
    // What could not be added again before.
    if (const auto here = net::host_addresses()) put_back_missing(*here);
  }
}

asio::awaitable<void> TakenAddresses::find_second_holder(IpAddress address) {
  const auto all = net::host_addresses();
  if (!all) co_return;
  const auto here = std::ranges::find(*all, address, &HostAddress::ip);
  if (here == all->end()) {
    kept_.erase(address);  // it was handed on
    co_return;
  }
  const auto elsewhere = co_await is_elsewhere(*here);
  const auto kept = kept_.find(address);
  if (!elsewhere || kept == kept_.end() || kept->second.doubled == *elsewhere) co_return;
  kept->second.doubled = *elsewhere;
  if (*elsewhere) {
    log::error("address_conflict_found", {{"address", address}, {"warning", doubled(address)}});
  } else {
    log::info("address_conflict_ended", {{"address", address}});
  }
}

std::vector<std::string> TakenAddresses::warnings() const {
  std::vector<std::string> out;
  for (const auto& [address, kept] : kept_)
    if (kept.doubled) out.push_back(doubled(address));
  return out;
}

}  // namespace sockmi::daemon
