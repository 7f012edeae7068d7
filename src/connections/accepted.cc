#include "connections/accepted.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log.h"
#include "connections/imported.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kPortCheckPeriod{1000};
constexpr milliseconds kFirstClaimPause{50}, kLastClaimPause{5000};

// Notifies home of a connection. Returns an error if home rejects it.
asio::awaitable<Result<>> claim(const Services& services, const ConnectionTable& table,
                                std::uint64_t cookie, ImportedConnection accepted,
                                Clock::time_point give_up) {
  for (milliseconds pause = kFirstClaimPause;; pause = std::min(2 * pause, kLastClaimPause)) {
    const Secret said =
        wire::pack_moved(accepted.tuple, services.settings.address_for(accepted.tuple.local.ip),
                         services.settings.host, accepted.service, accepted.generation);
    const auto reply = co_await services.control->call(accepted.home, accepted.home_control, said,
                                                       milliseconds(2000));
    if (reply) {
      CO_TRY(wire::read_answer(*reply));
      co_return Result<>();
    }
    if (Clock::now() >= give_up || !table.find_imported(cookie))
      co_return std::unexpected(reply.error());
    co_await sleep_for(pause);
  }
}

}  // namespace

asio::awaitable<void> adopt_accepted(const Services& services, ConnectionTable& table,
                                     ForeignRules& rules, SocketAddress local,
                                     ImportedConnection listener, Clock::time_point give_up) {
  const auto connections = net::connections_of(local);
  if (!connections) {
    log::error("accepted_connections_list_failed",
               {{"listener", local}, {"error", connections.error()}});
    co_return;
  }
  std::vector<std::pair<std::uint64_t, ImportedConnection>> accepted;
  for (const auto& each : *connections) {
    if (table.find_imported(each.cookie)) continue;
    ImportedConnection imported = listener;
    imported.tuple = each.tuple;
    imported.generation = std::max(next_generation(0), listener.generation + 1);
    add_imported(table, rules, each.cookie, imported);
    rules.readd(each.tuple, listener.home_control);
    accepted.emplace_back(each.cookie, std::move(imported));
  }
  for (const auto& [cookie, imported] : accepted) {
    const auto claimed = co_await claim(services, table, cookie, imported, give_up);
    if (!claimed) {
      log::error("accepted_connection_claim_failed",
                 {{"connection", imported.tuple}, {"error", claimed.error()}});
    }
  }
}

asio::awaitable<void> watch_ports(const Services& services, ConnectionTable& table,
                                  ForeignRules& rules) {
  for (;;) {
    co_await sleep_for(kPortCheckPeriod);
    for (const FourTuple& tuple : rules.ports().retry()) {
      // The turns of the listeners before this one may have taken seconds.
      if (!rules.ports().is_still_taken(tuple)) continue;
      // The connections that the listener has accepted received their packets through
      // this port until now, so they are registered first.
      const auto is_it = [&](const auto& each) {
        return each.second.tuple == tuple;
      };
      const auto it = std::ranges::find_if(table.imported(), is_it);
      if (it != table.imported().end()) {
        const ImportedConnection listener = it->second;
        co_await adopt_accepted(services, table, rules, tuple.local, listener, Clock::now());
      }
      rules.ports().leave(tuple);
    }
  }
}

}  // namespace sockmi::daemon
