// Reports addresses of this host that disappear, and announces those that return.
//
// An administrator may delete an address, but connections are lost if nobody notices it.
// So the log and the status report it. When the address returns, perhaps on an interface
// that was created again, it is announced to the neighbours, because they may still have
// its former link address.
#include "takeover/host_addresses.h"

#include <unistd.h>

#include <algorithm>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"
#include "takeover/address_probe.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kCheckPause{20};  // between two checks, at least

std::string text_of(const IpAddress& address) {
  return address.any() ? "none" : to_string(address);
}

}  // namespace

asio::awaitable<void> HostAddresses::follow(net::AddressMonitor news) {
  asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor, ::dup(news.fd()));
  for (;;) {
    news.read();
    if (auto looked = look(); !looked)
      log::error("addresses_read_failed", {{"error", looked.error()}});
    co_await sleep_for(kCheckPause);
    boost::system::error_code error;
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
  }
}

std::vector<std::string> HostAddresses::warnings() const {
  std::vector<std::string> out;
  out.reserve(gone_.size());
  for (const IpAddress& each : gone_) {
    out.push_back(
        fmt::format("address {} is gone: packets for it do not reach this host", to_string(each)));
  }
  return out;
}

// Returns the addresses that this host needs, each with its number of connections that
// live elsewhere.
std::map<IpAddress, std::size_t> HostAddresses::wanted() const {
  std::map<IpAddress, std::size_t> out{{settings_.address, 0}};
  for (const auto& [tuple, away] : connections_.table.remote()) {
    if (away.home == settings_.host && !away.container && !tuple.local.ip.wildcard())
      ++out[tuple.local.ip.unmapped()];
  }
  return out;
}

Result<> HostAddresses::look() {
  TRY_LET(all, net::host_addresses());
  const auto addresses = wanted();
  bool changed = false;
  std::erase_if(gone_, [&](const IpAddress& each) { return !addresses.contains(each); });
  for (const auto& [address, connections] : addresses) {
    const auto here = std::ranges::find(all, address, &net::HostAddress::ip);
    if (here == all.end() && gone_.insert(address).second)
      log::error("address_disappeared", {{"address", address}, {"moved", connections}});
    if (here == all.end() || gone_.erase(address) == 0) continue;
    log::warn("address_reappeared", {{"address", address}, {"moved", connections}});
    spawn(connections_.services.io, "announce", announce(*here));
    changed = true;
  }
  find_other(changed);
  if (changed) connections_.services.discovery->addresses_changed(settings_.other_address);
  taken_.put_back_missing(all);
  return {};
}

void HostAddresses::find_other(bool& changed) {
  const IpAddress address = settings_.address, before = settings_.other_address;
  const auto found = net::address_of_other_family(address, before);
  if (!found || *found == before || (found->any() && gone_.contains(address))) return;
  settings_.other_address = *found;
  log::warn("other_address_changed", {{"before", text_of(before)}, {"after", text_of(*found)}});
  changed = true;
  if (!found->any()) {
    connections_.rules.rewrite_destinations(connections_.table, before);
    spawn(connections_.services.io, "tell_address",
          connections_.homes.notify_address(found->family));
  }
}

}  // namespace sockmi::daemon
