#include "connections/accepted.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/backoff.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/imported.h"
#include "context/async_event.h"
#include "steer/packet_marks.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kPortCheckPeriod{1000};
constexpr milliseconds kFirstClaimPause{50}, kLastClaimPause{5000};
// How long a home may reject claims for a reason that may pass before we give up.
constexpr milliseconds kClaimGracePeriod{60000};
// A listener that leaves waits for its claims, so one at a time is too slow on a long
// path. Home takes 64 requests of a host at a time (control_channel.cc).
constexpr std::size_t kMostClaimsUnderWay = 32;

// True if home would reject the same claim again: the connection has ended, or home does
// not accept that it lives here.
bool is_final(const Error& rejection) {
  return rejection.code == ENOENT || rejection.code == EACCES;
}

using Accepted = std::pair<std::uint64_t, ImportedConnection>;  // with the cookie

// The claims of a listener's connections.
struct Claims {
  Claims(const Services& services, const ConnectionTable& table, std::vector<Accepted> all,
         std::function<bool()> is_due, Clock::time_point give_up)
      : services(services),
        table(table),
        all(std::move(all)),
        is_due(std::move(is_due)),
        give_up(give_up),
        done(services.io.get_executor()) {}
  const Services& services;
  const ConnectionTable& table;
  const std::vector<Accepted> all;
  const std::function<bool()> is_due;
  const Clock::time_point give_up;
  std::size_t next = 0;
  std::size_t under_way = 0;
  // Since when home has rejected claims for now, and accepted none.
  std::optional<Clock::time_point> rejected_since;
  Event done;
};

// Notifies home of a connection. Returns an error if home rejects it.
asio::awaitable<Result<>> claim(Claims& claims, const Accepted& one) {
  const auto& [cookie, accepted] = one;
  const Services& services = claims.services;
  for (Backoff pauses(kFirstClaimPause, kLastClaimPause);;) {
    const Secret said =
        wire::pack_moved(accepted.tuple, services.settings.address_for(accepted.tuple.local.ip),
                         services.settings.host, accepted.service, accepted.generation);
    const auto reply = co_await services.control->call(accepted.home, accepted.home_control, said,
                                                       milliseconds(2000));
    const auto answer = wire::answer_of(reply);
    const auto now = Clock::now();
    if (answer) {
      claims.rejected_since.reset();
      co_return Result<>();
    }
    bool is_over = now >= claims.give_up;
    if (reply && is_final(answer.error())) {
      is_over = true;
    } else if (reply) {
      if (!claims.rejected_since) claims.rejected_since = now;
      is_over |= now >= *claims.rejected_since + kClaimGracePeriod;
    }
    if (is_over) co_return std::unexpected(answer.error());
    co_await sleep_for(pauses.next());
    if (!claims.is_due() || !claims.table.find_imported(cookie))
      co_return std::unexpected(answer.error());
  }
}

// Makes one claim after the other, until none is left. Several of these run at a time.
asio::awaitable<void> claim_in_turn(std::shared_ptr<Claims> claims) {
  while (claims->next < claims->all.size() && claims->is_due()) {
    const Accepted& one = claims->all[claims->next++];
    if (!claims->table.find_imported(one.first)) continue;  // it has ended, or left, meanwhile
    const auto claimed = co_await claim(*claims, one);
    if (!claimed) {
      log::error("accepted_connection_claim_failed",
                 {{"connection", one.second.tuple}, {"error", claimed.error()}});
    }
  }
  if (--claims->under_way == 0) claims->done.set();
}

}  // namespace

asio::awaitable<void> claim_accepted(const Services& services, ConnectionTable& table,
                                     ForeignRules& rules, SocketAddress local,
                                     ImportedConnection listener, std::function<bool()> is_due,
                                     Clock::time_point give_up, Frozen frozen) {
  const auto connections = net::connections_of(local);
  if (!connections) {
    log::error("accepted_connections_list_failed",
               {{"listener", local}, {"error", connections.error()}});
    co_return;
  }
  std::vector<Accepted> accepted;
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
  const auto claims =
      std::make_shared<Claims>(services, table, std::move(accepted), std::move(is_due), give_up);
  claims->under_way = std::min(claims->all.size(), kMostClaimsUnderWay);
  if (claims->under_way == 0) co_return;
  for (std::size_t i = claims->under_way; i > 0; --i)
    spawn(services.io, "claim_accepted", claim_in_turn(claims));
  co_await claims->done.wait();
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
        co_await claim_accepted(services, table, rules, tuple.local, listener, is_due,
                                Clock::now());
      }
      rules.ports().leave(tuple);
    }
  }
}

}  // namespace sockmi::daemon
