#include "takeover/receive_address.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/imported.h"
#include "context/async_event.h"
#include "net/interface_name.h"
#include "takeover/address_probe.h"
#include "takeover/takeover.h"
#include "wire/flatbuffer.h"

namespace sockmi::daemon {
namespace {

using net::HostAddress;

constexpr std::size_t kMaxReceived = 64;  // addresses that others are handing over to us

// Connections imported from the old holder are at home here from now on.
void rehome_connections(Connections& connections, const std::string& from,
                        const IpAddress& address) {
  for (const auto& [cookie, imported] : connections.table.imported()) {
    if (imported.tuple.local.ip.unmapped() == address && imported.home == from)
      rehome(connections.table, connections.rules, cookie);
  }
}

}  // namespace

Result<> AddressReceiver::on_message(const std::string& from, const wire::TakeOver& message) {
  TRY_LET(address, IpAddress::parse(wire::string(message.address())));
  const auto held = held_.find(address);
  if (held != held_.end() && held->second.from != from) {
    return fail(EACCES, "{} holds the address for {}", connections_.services.settings.host,
                held->second.from);
  }
  if (message.step() == wire::TakeOverStep::Drop)
    return held == held_.end() ? Result<>() : drop(address);
  TRY_LET(place, find_place(message));
  if (message.step() == wire::TakeOverStep::Hold) return hold(from, place);
  if (message.step() == wire::TakeOverStep::Keep)
    return keep_after_a_probe(from, place, held != held_.end());
  return {};
}

// Returns the address with the interface of this host to which it can be added.
Result<HostAddress> AddressReceiver::find_place(const wire::TakeOver& message) const {
  TRY_LET(ip, IpAddress::parse(wire::string(message.address())));
  if (ip == connections_.services.settings.address) {
    return fail(EINVAL, "{} is {}'s own address", to_string(ip),
                connections_.services.settings.host);
  }
  if (!may_be_taken_over(connections_.services.settings, ip)) {
    return fail(EACCES, "{} is not among takeover.addresses of {}", to_string(ip),
                connections_.services.settings.host);
  }
  TRY_LET(all, net::host_addresses());
  const bool here = std::ranges::find(all, ip, &HostAddress::ip) != all.end();
  if (here && !held_.contains(ip) && message.step() != wire::TakeOverStep::Keep) {
    return fail(EEXIST, "{} is an address of {} already", to_string(ip),
                connections_.services.settings.host);
  }
  for (const HostAddress& each : all) {
    const bool steered = std::ranges::find(connections_.services.settings.interfaces,
                                           net::interface_name(each.interface)) !=
                         connections_.services.settings.interfaces.end();
    if (each.ip == ip || !steered || each.ip.family != ip.family ||
        !ip.in_prefix(each.ip, each.prefix))
      continue;
    // The prefix is that of the interface's subnet, or of a part of it.
    if (message.prefix() < each.prefix || message.prefix() > ip.size() * 8) continue;
    return HostAddress{.ip = ip,
                       .prefix = message.prefix(),
                       .interface = each.interface,
                       .deprecated = message.deprecated()};
  }
  return fail(EADDRNOTAVAIL, "{} has no interface on the subnet of {}/{}",
              connections_.services.settings.host, to_string(ip), message.prefix());
}

Result<> AddressReceiver::hold(const std::string& from, const HostAddress& address) {
  TRY(fault::point("takeover-hold"));
  if (held_.size() >= kMaxReceived && !held_.contains(address.ip))
    return fail(EBUSY, "{} addresses are being taken over", held_.size());
  TRY(net::add_address(address, kHoldLifetime));
  taken_.await_keep(address.ip);
  held_[address.ip] = {address, from, ++attempts_};
  spawn(connections_.services.io, "resolve_doubt", resolve_in_doubt(address.ip, attempts_));
  return {};
}

Result<> AddressReceiver::keep(const std::string& from, const HostAddress& address) {
  const std::string interface = net::interface_name(address.interface);
  TRY(net::add_address(address, std::nullopt));
  held_.erase(address.ip);
  taken_.add({address.ip, address.prefix, interface, from, address.deprecated});
  rehome_connections(connections_, from, address.ip);
  spawn(connections_.services.io, "announce", announce(address));
  log::info("address_taken_over", {{"address", address.ip}, {"interface", interface}});
  return {};
}

// A probe of the link shows whether another host has the address: the former holder
// removes it before it sends Keep. The probe is more thorough if we have no record of a
// Hold (the Keep is a repetition, or we were restarted in between, or its sender does not
// hold the address).
Result<> AddressReceiver::keep_after_a_probe(const std::string& from, const HostAddress& address,
                                             bool held) {
  TRY_LET(all, net::host_addresses());
  const bool here = std::ranges::find(all, address.ip, &HostAddress::ip) != all.end();
  if (here && taken_.is_kept_from(address.ip, from)) return {};
  std::erase_if(probes_, [](const auto& each) {
    return each.second && Clock::now() > each.second->ended + kInDoubtAfter;
  });
  if (probes_.size() >= kMaxReceived && !probes_.contains(address.ip))
    return fail(EBUSY, "{} addresses are being taken over", probes_.size());
  const auto [it, first] = probes_.try_emplace(address.ip);
  if (first) spawn(connections_.services.io, "probe", probe(address, held));
  if (!it->second) {
    return fail(EAGAIN, "{} is still asking whether another host has {}",
                connections_.services.settings.host, to_string(address.ip));
  }
  const Probe probed = std::move(*it->second);
  probes_.erase(it);
  if (!probed.elsewhere) return std::unexpected(probed.elsewhere.error());
  if (*probed.elsewhere) return fail(EEXIST, "another host has {}", to_string(address.ip));
  return keep(from, address);
}

asio::awaitable<void> AddressReceiver::probe(HostAddress address, bool held) {
  const ProbeEffort effort = held ? kSingleProbe : kThoroughProbe;
  auto elsewhere = co_await is_elsewhere(address, effort);
  probes_[address.ip] = Probe{Clock::now(), std::move(elsewhere)};
}

Result<> AddressReceiver::drop(const IpAddress& address) {
  const Held held = held_.at(address);
  held_.erase(address);
  return net::remove_address(held.address);
}

asio::awaitable<void> AddressReceiver::resolve_in_doubt(IpAddress address, std::uint64_t attempt) {
  co_await sleep_for(kInDoubtAfter);
  const auto in_doubt = [&] {
    return held_.contains(address) && held_.at(address).attempt == attempt;
  };
  if (!in_doubt()) co_return;
  (void)fault::point("takeover-doubt");  // we may die
  const Held held = held_.at(address);
  const auto elsewhere = co_await is_elsewhere(held.address);
  if (!in_doubt()) co_return;
  if (elsewhere) {
    log::warn("takeover_probed", {{"address", address}, {"elsewhere", *elsewhere}});
  } else {
    log::error("takeover_probe_failed", {{"address", address}, {"error", elsewhere.error()}});
  }
  // If the probe fails, the kernel removes the address when the Hold expires: no holder
  // is better than two.
  if (!elsewhere) {
    held_.erase(address);
  } else if (auto done = *elsewhere ? drop(address) : keep(held.from, held.address); !done) {
    log::error("takeover_settle_failed", {{"address", address}, {"error", done.error()}});
    held_.erase(address);  // the kernel removes it
  }
}

}  // namespace sockmi::daemon
