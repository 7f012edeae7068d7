#include "connections/accepted.h"

#include <algorithm>

#include "base/log.h"
#include "connections/imported.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kPortCheckPeriod{1000};

}  // namespace

asio::awaitable<void> adopt_accepted(const Services& services, ConnectionTable& table,
                                     ForeignRules& rules, SocketAddress local,
                                     ImportedConnection listener) {
  const auto connections = net::connections_of(local);
  if (!connections) {
    log::error("accepted_connections_list_failed",
               {{"listener", local}, {"error", connections.error()}});
    co_return;
  }
  for (const auto& each : *connections) {
    if (table.find_imported(each.cookie)) continue;
    ImportedConnection resident = listener;
    resident.tuple = each.tuple;
    resident.generation = std::max(next_generation(0), listener.generation + 1);
    add_imported(table, rules, each.cookie, resident);
    rules.readd(each.tuple, listener.home_control);
    const Secret said =
        wire::pack_moved(each.tuple, services.settings.address_for(each.tuple.local.ip),
                         services.settings.host, listener.service, resident.generation);
    auto reply = co_await services.control->call(listener.home, listener.home_control, said,
                                                 milliseconds(2000));
    auto answer = wire::answer_of(reply);
    if (!answer)
      log::error("accepted_connection_claim_failed",
                 {{"connection", each.tuple}, {"error", answer.error()}});
  }
}

asio::awaitable<void> watch_ports(const Services& services, ConnectionTable& table,
                                  ForeignRules& rules) {
  for (;;) {
    co_await sleep_for(kPortCheckPeriod);
    for (const FourTuple& guest : rules.ports().retry()) {
      // The turns of the listeners before this one may have taken seconds.
      if (!rules.ports().is_still_taken(guest)) continue;
      // The connections that the listener has accepted received their packets through this
      // port until now, so they are registered first.
      const auto is_it = [&](const auto& each) {
        return each.second.tuple == guest;
      };
      const auto it = std::ranges::find_if(table.imported(), is_it);
      if (it != table.imported().end()) {
        const ImportedConnection listener = it->second;
        co_await adopt_accepted(services, table, rules, guest.local, listener);
      }
      rules.ports().leave(guest);
    }
  }
}

}  // namespace sockmi::daemon
