#include "daemon/shutdown.h"

#include <algorithm>

#include "connections/lifecycle.h"
#include "context/async_event.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kShutdownTime{1000};

}  // namespace

asio::awaitable<void> finish_connections(Connections& connections) {
  const auto deadline = Clock::now() + kShutdownTime;
  for (;; co_await sleep_for(milliseconds(10))) {
    notice_ends(connections);
    const auto pending_ends = connections.table.journal().pending_ends();
    bool waiting = std::ranges::any_of(pending_ends, [&](const auto& each) {
      return !connections.homes.unreachable().contains(each.second.home);
    });
    if (const auto alive = connections.services.all_sockets()) {
      // A connection that its application has not closed need not be waited for.
      for (const auto& [cookie, socket] : *alive) {
        waiting |= socket.state != tcp::kEstablished && socket.state != tcp::kCloseWait &&
                   connections.table.find_imported(cookie);
      }
    }
    if (!waiting || Clock::now() > deadline) co_return;
  }
}

bool rules_are_needed(const Connections& connections, const ImportQueue& import_queue) {
  // True if the endpoint is on the ready list: the daemon has its only descriptor, so it
  // ends with the daemon.
  const auto is_ready = [&](std::uint64_t cookie) {
    return std::ranges::any_of(import_queue.ready(),
                               [&](const ReadyEndpoint& ready) { return ready.cookie == cookie; });
  };
  const auto is_steered_here = [](const auto& each) {
    return !each.second.container;
  };
  return std::ranges::any_of(connections.table.remote(), is_steered_here) ||
         std::ranges::any_of(connections.table.imported(), [&](const auto& each) {
           return connections.table.is_foreign(each.second) && !is_ready(each.first);
         });
}

}  // namespace sockmi::daemon
