#include "connections/accepted.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/backoff.h"
#include "base/log.h"
#include "connections/imported.h"
#include "context/async_event.h"
#include "steer/packet_marks.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kPortCheckPeriod{1000};
constexpr milliseconds kFirstClaimPause{50}, kLastClaimPause{5000};
// How long a home may reject claims for a reason that may pass before we give up.
constexpr milliseconds kClaimGracePeriod{60000};

// True if home would reject the same claim again: the connection has ended, or home does
// not accept that it lives here.
bool is_final(const Error& rejection) {
  return rejection.code == ENOENT || rejection.code == EACCES;
}

// Notifies home of a connection. `rejected_since`: since when home has rejected claims of
// this listener's connections for now, and accepted none. Returns an error if home
// rejects this one.
asio::awaitable<Result<>> claim(const Services& services, const ConnectionTable& table,
                                std::uint64_t cookie, ImportedConnection accepted,
                                const std::function<bool()>& is_due, Clock::time_point give_up,
                                std::optional<Clock::time_point>& rejected_since) {
  for (Backoff pauses(kFirstClaimPause, kLastClaimPause);;) {
    const Secret said =
        wire::pack_moved(accepted.tuple, services.settings.address_for(accepted.tuple.local.ip),
                         services.settings.host, accepted.service, accepted.generation);
    const auto reply = co_await services.control->call(accepted.home, accepted.home_control, said,
                                                       milliseconds(2000));
    const auto answer = wire::answer_of(reply);
    const auto now = Clock::now();
    if (answer) {
      rejected_since.reset();
      co_return Result<>();
    }
    bool is_over = now >= give_up;
    if (reply && is_final(answer.error())) {
      is_over = true;
    } else if (reply) {
      if (!rejected_since) rejected_since = now;
      is_over |= now >= *rejected_since + kClaimGracePeriod;
    }
    if (is_over) co_return std::unexpected(answer.error());
    co_await sleep_for(pauses.next());
    if (!is_due() || !table.find_imported(cookie)) co_return std::unexpected(answer.error());
  }
}

}  // namespace

asio::awaitable<void> adopt_accepted(const Services& services, ConnectionTable& table,
                                     ForeignRules& rules, SocketAddress local,
                                     ImportedConnection listener, std::function<bool()> is_due,
                                     Clock::time_point give_up, Frozen frozen) {
  const auto connections = net::connections_of(local);
  if (!connections) {
    log::error("accepted_connections_list_failed",
               {{"listener", local}, {"error", connections.error()}});
    co_return;
  }
  std::vector<std::pair<std::uint64_t, ImportedConnection>> accepted;
  for (const auto& each : *connections) {
    if (frozen == Frozen::Excluded && each.mark == steer::kFreezeMark) continue;
    // Home may not know it yet: an earlier claim had no answer, or was never sent. A
    // repeated claim changes nothing at home.
    if (const ImportedConnection* known = table.find_imported(each.cookie)) {
      if (known->home == listener.home) accepted.emplace_back(each.cookie, *known);
      continue;
    }
    ImportedConnection imported = listener;
    imported.tuple = each.tuple;
    imported.generation = std::max(next_generation(0), listener.generation + 1);
    add_imported(table, rules, each.cookie, imported);
    rules.readd(each.tuple, listener.home_control);
    accepted.emplace_back(each.cookie, std::move(imported));
  }
  std::optional<Clock::time_point> rejected_since;
  for (const auto& [cookie, imported] : accepted) {
    if (!is_due()) co_return;
    if (!table.find_imported(cookie)) continue;  // it has ended, or left, meanwhile
    const auto claimed =
        co_await claim(services, table, cookie, imported, is_due, give_up, rejected_since);
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
        const std::function<bool()> is_due = [] {
          return true;
        };
        co_await adopt_accepted(services, table, rules, tuple.local, listener, is_due,
                                Clock::now());
      }
      rules.ports().leave(tuple);
    }
  }
}

}  // namespace sockmi::daemon
