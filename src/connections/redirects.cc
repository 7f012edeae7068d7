#include "connections/redirects.h"

#include <sys/socket.h>

#include <algorithm>

#include "base/address_scope.h"
#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"
#include "net/addresses.h"
#include "tcp/listener.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

// The peer's last ACK of a handshake arrives by then, or is lost.
constexpr milliseconds kHandshakes{3000};
// The kernel unblocks the port after this if the daemon dies.
constexpr milliseconds kBlockedPortLifetime{10000};
constexpr milliseconds kRetryPause{50};

// Returns the addresses to which packets for `local` may be sent. A socket bound to a
// wildcard has all addresses of this host, except those of the loopback and the
// link-local ones.
std::vector<SocketAddress> addresses_of(const SocketAddress& local) {
  if (!local.ip.wildcard()) return {{local.ip.unmapped(), local.port}};
  std::vector<SocketAddress> out;
  const auto all = net::host_addresses();
  if (!all) return out;
  for (const net::HostAddress& each : *all) {
    if (each.ip.family == AF_INET6 && local.ip.family == AF_INET) continue;
    if (!is_loopback(each.ip) && !is_link_local(each.ip)) out.push_back({each.ip, local.port});
  }
  return out;
}

// Returns the connections of a port, from the namespace to which the address belongs.
Result<std::vector<net::TcpSocket>> connections_of(const Services& services,
                                                   const SocketAddress& local) {
  std::vector<net::TcpSocket> out;
  TRY(services.steering->within(local.ip, [&]() -> Result<> {
    TRY_LET(found, net::connections_of(local));
    out = std::move(found);
    return {};
  }));
  return out;
}

// Nothing ends such a redirect by itself: its port would stay closed here.
asio::awaitable<void> retry_passive_removal(const Services& services, const ConnectionTable& table,
                                            FourTuple tuple, Result<> done) {
  while (!done) {
    log::error("redirects_remove_failed", {{"count", 1}, {"error", done.error()}});
    co_await sleep_for(kRetryPause);
    if (table.find_remote(tuple)) co_return;  // it has moved again
    done = remove_passive_redirect(services, tuple.local);
  }
}

template <class Step>
Result<> for_each_address(const SocketAddress& local, Step step) {
  for (const SocketAddress& address : addresses_of(local))
    TRY(step(address));
  return {};
}

}  // namespace

asio::awaitable<Result<>> empty_accept_queue(const Services& services, int listener,
                                             SocketAddress local,
                                             std::vector<unique_fd>& accepted) {
  CO_TRY(for_each_address(local, [&](const SocketAddress& address) {
    return services.steering->at(address.ip).block_port(address, kBlockedPortLifetime);
  }));
  // No notification comes when a handshake ends, so the queue is polled as long as one is
  // in progress.
  for (const auto end = Clock::now() + kHandshakes;;) {
    CO_TRY_LET(connections, connections_of(services, local));
    const bool under_way = std::ranges::any_of(
        connections, [](const auto& connection) { return connection.state == tcp::kSynRecv; });
    CO_TRY_LET(queue, tcp::drain_accept_queue(listener));
    std::ranges::move(queue, std::back_inserter(accepted));
    if (!under_way || Clock::now() > end) break;
    co_await sleep_for(milliseconds(5));
  }
  co_return Result<>();
}

void release(const Services& services, const SocketAddress& local) {
  auto released = for_each_address(local, [&](const SocketAddress& address) {
    return services.steering->at(address.ip).unblock_port(address);
  });
  if (!released)
    log::error("port_unblock_failed", {{"listener", local}, {"error", released.error()}});
}

Result<> redirect_passive(const Services& services, const ConnectionTable& table,
                          const SocketAddress& local, const std::string& host) {
  TRY_LET(holder, services.discovery->find_host(host));
  TRY_LET(connections, connections_of(services, local));
  return for_each_address(local, [&](const SocketAddress& address) -> Result<> {
    const IpAddress& to = holder.control_address.ip.family == address.ip.family
                              ? holder.control_address.ip
                              : holder.other_address;
    if (to.any()) {
      if (!local.ip.wildcard()) {
        return fail(EAFNOSUPPORT, "{} has no address of the family of {}", host,
                    to_string(address));
      }
      log::warn("address_redirect_skipped", {{"listener", address},
                                             {"host", host},
                                             {"reason", "the host has no address of this family"}});
      return {};
    }
    std::vector<FourTuple> exempt;
    for (const auto& each : connections) {
      if (each.tuple.local.ip.unmapped() == address.ip && !table.find_remote(each.tuple))
        exempt.push_back(each.tuple);
    }
    return services.steering->at(address.ip).redirect_port(address, to, exempt);
  });
}

Result<> remove_passive_redirect(const Services& services, const SocketAddress& local) {
  return for_each_address(local, [&](const SocketAddress& address) {
    return services.steering->at(address.ip).remove_port_redirect(address);
  });
}

Result<> redirect(const Services& services, const ConnectionTable& table, const FourTuple& tuple,
                  const RemoteConnection& away, std::optional<milliseconds> expires_in) {
  if (!is_passive(tuple))
    return services.steering->at(tuple.local.ip).redirect(tuple, away.address, expires_in);
  return expires_in ? remove_passive_redirect(services, tuple.local)
                    : redirect_passive(services, table, tuple.local, away.host);
}

asio::awaitable<void> retry_redirects(const Services& services, const ConnectionTable& table,
                                      std::vector<steer::Redirect> redirects) {
  for (;;) {
    const auto is_obsolete = [&](const steer::Redirect& each) {
      const RemoteConnection* remote = table.find_remote(each.tuple);
      return !remote || remote->address != each.to;
    };
    std::erase_if(redirects, is_obsolete);
    if (redirects.empty()) co_return;
    const auto done = services.steering->redirect(redirects);
    if (done) co_return;
    log::error("redirects_persist_failed", {{"count", redirects.size()}, {"error", done.error()}});
    co_await sleep_for(kRetryPause);
  }
}

void stop_redirecting(const Services& services, const ConnectionTable& table,
                      const FourTuple& tuple) {
  if (auto done = remove_passive_redirect(services, tuple.local); !done) {
    spawn(services.io, "retry_removal",
          retry_passive_removal(services, table, tuple, std::move(done)));
  }
}

asio::awaitable<void> retry_removal(const Services& services, const ConnectionTable& table,
                                    std::vector<FourTuple> tuples) {
  // The record that a connection has now may be about to end.
  const auto generation_of = [&](const FourTuple& tuple) {
    const RemoteConnection* remote = table.find_remote(tuple);
    return remote ? std::optional(remote->generation) : std::nullopt;
  };
  std::map<FourTuple, std::optional<std::uint64_t>> before;
  for (const FourTuple& tuple : tuples)
    before[tuple] = generation_of(tuple);
  for (;;) {
    const auto done = services.steering->remove_redirects(tuples);
    if (done) co_return;
    log::error("redirects_remove_failed", {{"count", tuples.size()}, {"error", done.error()}});
    co_await sleep_for(kRetryPause);
    // It has moved again.
    std::erase_if(tuples, [&](const FourTuple& tuple) {
      const auto now = generation_of(tuple);
      return now && now != before.at(tuple);
    });
    if (tuples.empty()) co_return;
  }
}

}  // namespace sockmi::daemon
