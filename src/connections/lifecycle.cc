#include "connections/lifecycle.h"

#include <algorithm>
#include <set>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/log.h"
#include "base/spawn.h"
#include "connections/foreign_rules.h"
#include "connections/home_protocol.h"
#include "connections/orphaned_sockets.h"
#include "connections/redirects.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kWindUp{1000};
constexpr std::uint8_t kEstablished = 1, kClose = 7, kCloseWait = 8, kBoundInactive = 13;
// Well below the second after which a peer repeats its first SYN: that SYN does not reach
// home while the redirect of a dead connection with the same addresses and ports is in
// force.
constexpr milliseconds kClosedCheckPeriod{250};
constexpr std::size_t kMostALook = 200;

void end(World& world, std::uint64_t cookie) {
  world.in_doubt.settled(frozen_id(cookie));
  const auto ended = world.table.end_imported(cookie);
  if (!ended) return;
  const ImportedConnection& resident = ended->connection;
  log::debug("event=ended connection={}", to_string(resident.tuple));
  untrack(world, resident.tuple);
  if (ended->notice == 0) return;
  remove_foreign_rules(world, resident.tuple, resident.home_control, world.settings.linger);
  spawn(world.io, "tell_ended", notify_ended(world, ended->notice, resident));
}

void end_noticed(World& world) {
  const auto ended = world.ends->ended();
  if (ended) {
    for (const auto& socket : *ended)
      end(world, socket.cookie);
    return;
  }
  // The kernel has dropped notifications: every connection without a live socket has
  // ended.
  const auto alive = world.all_sockets();
  if (!alive) {
    log::error("event=sock_diag_failed error=\"{}\"", to_string(alive.error()));
    return;
  }
  std::vector<std::uint64_t> gone;
  for (const auto& [cookie, resident] : world.table.imported())
    if (!lives(world, *alive, cookie, resident.tuple)) gone.push_back(cookie);
  for (const auto cookie : gone)
    end(world, cookie);
}

}  // namespace

bool lives(const World& world, const std::map<std::uint64_t, net::TcpSocket>& alive,
           std::uint64_t cookie, const FourTuple& tuple) {
  if (const auto it = alive.find(cookie); it != alive.end())
    return it->second.tuple.unmapped() == tuple.unmapped();
  const auto socket = world.find_socket(tuple);
  return socket ? socket->cookie == cookie : !is_absent(socket.error());
}

void finish_export(World& world, const FourTuple& tuple, const std::string& home,
                   const SocketAddress& home_control) {
  untrack(world, tuple);
  if (home == world.settings.host) return;
  remove_foreign_rules(world, tuple, home_control, world.settings.linger);
  if (world.table.find_remote(tuple)) spawn(world.io, "tell_moved", notify_moved(world, tuple));
}

void add_imported(World& world, std::uint64_t cookie, const ImportedConnection& resident) {
  // The connection has a record already if its home has queried it (see held()). Its
  // rules are reference-counted, and it counts once.
  if (!world.table.add_imported(cookie, resident) && world.table.is_foreign(resident))
    remove_foreign_rules(world, resident.tuple, resident.home_control, world.settings.linger);
}

void rehome(World& world, std::uint64_t cookie) {
  const ImportedConnection* resident = world.table.find_imported(cookie);
  // Expires immediately (0 would mean never): new connections to the address are ours to
  // answer.
  remove_foreign_rules(world, resident->tuple, resident->home_control, milliseconds(1));
  world.table.rehome(cookie);
}

asio::awaitable<void> watch_ends(World& world) {
  asio::posix::stream_descriptor descriptor(world.io, ::dup(world.ends->fd()));
  for (;;) {
    boost::system::error_code error;
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      log::error("event=ends_not_watched error=\"{}\" action=\"tried again\"", error.message());
      co_await sleep_for(milliseconds(100));
    }
    end_noticed(world);
  }
}

// A connection that was reset has ended, but an application may keep its socket for a
// long time, and the kernel sends no notification of that. A connection that is not found
// by addresses and ports is searched for among all sockets, once: its socket may be bound
// to an interface, which a lookup by addresses would have to name.
asio::awaitable<void> watch_closed(World& world) {
  std::uint64_t last = 0;
  std::set<std::uint64_t> hidden;  // alive, but not found by addresses
  for (;;) {
    co_await sleep_for(kClosedCheckPeriod);
    std::vector<std::uint64_t> missing;
    const auto& imported = world.table.imported();
    for (std::size_t some = std::min(kMostALook, imported.size()); some > 0; --some) {
      auto it = imported.upper_bound(last);
      if (it == imported.end()) it = imported.begin();
      last = it->first;
      if (!world.table.is_foreign(it->second) || is_passive(it->second.tuple) ||
          hidden.contains(last))
        continue;
      const auto socket = world.find_socket(it->second.tuple);
      if (socket ? socket->cookie != last : is_absent(socket.error())) missing.push_back(last);
    }
    std::erase_if(hidden, [&](std::uint64_t cookie) { return !world.table.find_imported(cookie); });
    if (missing.empty()) continue;
    const auto alive = world.all_sockets();
    if (!alive) continue;
    for (const auto cookie : missing) {
      const auto it = alive->find(cookie);
      if (it != alive->end() && it->second.state != kClose && it->second.state != kBoundInactive)
        hidden.insert(cookie);
      else
        end(world, cookie);
    }
  }
}

asio::awaitable<void> shut_down(World& world) {
  const auto deadline = Clock::now() + kWindUp;
  for (;; co_await sleep_for(milliseconds(10))) {
    end_noticed(world);
    const auto untold = world.table.journal().pending_ends();
    bool waiting = std::ranges::any_of(
        untold, [&](const auto& each) { return !world.silent.contains(each.second.home); });
    if (const auto alive = world.all_sockets())
      // A connection that its application has not closed need not be waited for.
      for (const auto& [cookie, socket] : *alive)
        waiting |= socket.state != kEstablished && socket.state != kCloseWait &&
                   world.table.find_imported(cookie);
    if (!waiting || Clock::now() > deadline) co_return;
  }
}

bool rules_are_needed(const World& world) {
  // True if the endpoint is on the ready list: the daemon has its only descriptor, so it
  // ends with the daemon.
  const auto is_ready = [&](std::uint64_t cookie) {
    return std::ranges::any_of(world.import_queue.ready(),
                               [&](const ReadyEndpoint& ready) { return ready.cookie == cookie; });
  };
  const auto is_steered_here = [](const auto& each) {
    return !each.second.container;
  };
  return std::ranges::any_of(world.table.remote(), is_steered_here) ||
         std::ranges::any_of(world.table.imported(), [&](const auto& each) {
           return world.table.is_foreign(each.second) && !is_ready(each.first);
         });
}

}  // namespace sockmi::daemon
