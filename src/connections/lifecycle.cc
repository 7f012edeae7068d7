#include "connections/lifecycle.h"

#include <algorithm>
#include <set>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/log.h"
#include "base/spawn.h"
#include "connections/imported.h"
#include "context/async_event.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

constexpr std::uint8_t kBoundInactive = 13;  // TCP_BOUND_INACTIVE, of sock_diag only
// Well below the second after which a peer repeats its first SYN: that SYN does not reach
// home while the redirect of a dead connection with the same addresses and ports is in
// force.
constexpr milliseconds kClosedCheckPeriod{250};
constexpr std::size_t kMostALook = 200;

void end(Connections& connections, std::uint64_t cookie) {
  connections.services.in_doubt.settled(frozen_id(cookie));
  const auto ended = connections.table.end_imported(cookie);
  if (!ended) return;
  const ImportedConnection& imported = ended->connection;
  log::debug("connection_ended", {{"connection", imported.tuple}});
  connections.rules.untrack(imported.tuple);
  if (ended->notice == 0) return;
  connections.rules.remove(imported.tuple, imported.home_control);
  spawn(connections.services.io, "tell_ended",
        connections.homes.notify_ended(ended->notice, imported));
}

}  // namespace

void notice_ends(Connections& connections) {
  const auto ended = connections.services.ends->ended();
  if (ended) {
    for (const auto& socket : *ended)
      end(connections, socket.cookie);
    return;
  }
  // The kernel has dropped notifications: every connection without a live socket has
  // ended.
  const auto alive = connections.services.all_sockets();
  if (!alive) {
    log::error("sock_diag_failed", {{"error", alive.error()}});
    return;
  }
  std::vector<std::uint64_t> gone;
  for (const auto& [cookie, imported] : connections.table.imported())
    if (!lives(connections.services, *alive, cookie, imported.tuple)) gone.push_back(cookie);
  for (const auto cookie : gone)
    end(connections, cookie);
}

void finish_export(Connections& connections, const FourTuple& tuple, const std::string& home,
                   const SocketAddress& home_control) {
  connections.rules.untrack(tuple);
  if (home == connections.services.settings.host) {
    spawn(connections.services.io, "tell_route", connections.homes.notify_route(tuple));
    return;
  }
  connections.rules.remove(tuple, home_control);
  if (connections.table.find_remote(tuple))
    spawn(connections.services.io, "tell_moved", connections.homes.notify_moved(tuple));
}

asio::awaitable<void> watch_ends(Connections& connections) {
  asio::posix::stream_descriptor descriptor(connections.services.io,
                                            ::dup(connections.services.ends->fd()));
  for (;;) {
    boost::system::error_code error;
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      log::error("end_watch_failed",
                 {{"error", error.message()}, {"action", "the daemon tries again"}});
      co_await sleep_for(milliseconds(100));
    }
    notice_ends(connections);
  }
}

// A connection that was reset has ended, but an application may keep its socket for a
// long time, and the kernel sends no notification of that. A connection that is not found
// by addresses and ports is searched for among all sockets, once: its socket may be bound
// to an interface, which a lookup by addresses would have to name.
asio::awaitable<void> watch_closed(Connections& connections) {
  std::uint64_t last = 0;
  std::set<std::uint64_t> hidden;  // alive, but not found by addresses
  for (;;) {
    co_await sleep_for(kClosedCheckPeriod);
    std::vector<std::uint64_t> missing;
    const auto& imported = connections.table.imported();
    for (std::size_t some = std::min(kMostALook, imported.size()); some > 0; --some) {
      auto it = imported.upper_bound(last);
      if (it == imported.end()) it = imported.begin();
      last = it->first;
      if (!connections.table.is_foreign(it->second) || is_passive(it->second.tuple) ||
          hidden.contains(last))
        continue;
      const auto socket = connections.services.find_socket(it->second.tuple);
      if (socket ? socket->cookie != last : is_absent(socket.error())) missing.push_back(last);
    }
    std::erase_if(hidden,
                  [&](std::uint64_t cookie) { return !connections.table.find_imported(cookie); });
    if (missing.empty()) continue;
    const auto alive = connections.services.all_sockets();
    if (!alive) continue;
    for (const auto cookie : missing) {
      const auto it = alive->find(cookie);
      if (it != alive->end() && it->second.state != tcp::kClose &&
          it->second.state != kBoundInactive) {
        hidden.insert(cookie);
      } else {
        end(connections, cookie);
      }
    }
  }
}

}  // namespace sockmi::daemon
