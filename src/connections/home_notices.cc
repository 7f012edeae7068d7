// What a host that holds, or held, an endpoint of another home tells this home: that the
// endpoint moved on, that it ended, and that this host has another address. Why it has to
// is said in home_protocol.cc.
#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/backoff.h"
#include "base/fault.h"
#include "base/log.h"
#include "connections/accepted.h"
#include "connections/home_protocol.h"
#include "connections/redirects.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

// How long a home may reject the end of a connection before we give up.
constexpr milliseconds kRejectionGracePeriod{60000};

}  // namespace

asio::awaitable<void> HomeProtocol::notify_accepted(FourTuple listener) {
  const RemoteConnection* found = table_.find_remote(listener);
  if (!found || !is_passive(listener)) co_return;
  const RemoteConnection away = *found;
  ImportedConnection was_here;
  was_here.tuple = listener;
  was_here.service = away.service;
  was_here.home = was_here.from = away.home;
  was_here.home_control = was_here.from_control = away.home_control;
  was_here.generation = away.generation;
  // An operator may give up that home (forget_host).
  const std::function<bool()> is_due = [&] {
    const RemoteConnection* now = table_.find_remote(listener);
    return now && *now == away;
  };
  co_await claim_accepted(services_, table_, rules_, listener.local, was_here, is_due);
}

asio::awaitable<void> HomeProtocol::notify_moved(FourTuple tuple) {
  const RemoteConnection* found = table_.find_remote(tuple);
  if (!found) co_return;
  const RemoteConnection away = *found;
  // False if it returned, has ended, or has moved again.
  const auto is_still_there = [&] {
    const RemoteConnection* now = table_.find_remote(tuple);
    return now && *now == away;
  };
  for (Backoff pauses(milliseconds(20), kMaxBackoff);;) {
    if (fault::point("moved-notice")) {
      const auto answer = co_await ask(
          away.home, away.home_control,
          wire::pack_moved(tuple, away.address, away.host, away.service, away.generation));
      if (!is_still_there()) co_return;
      // ENOENT: home has no record of it, or it has ended and that message arrived first.
      const bool forgotten = answer && !*answer && (*answer).error().code == ENOENT;
      if (forgotten || (answer && *answer)) break;
    }
    co_await sleep_for(pauses.next());
    if (!is_still_there()) co_return;
  }
  // Packets in transit are redirected for a moment longer.
  (void)redirect(services_, table_, tuple, away,
                 std::min(services_.settings.linger, milliseconds(1000)));
  table_.mark_returned(tuple);
}

asio::awaitable<void> HomeProtocol::notify_address(int family) {
  IpAddress any_of_family;
  any_of_family.family = family;
  const IpAddress address = services_.settings.address_for(any_of_family);
  std::vector<std::pair<std::uint64_t, ImportedConnection>> those;
  for (const auto& [cookie, imported] : table_.imported())
    if (imported.tuple.local.ip.unmapped().family == family) those.emplace_back(cookie, imported);
  for (const auto& [cookie, imported] : those) {
    // Home may reject the new address because it has not received our HELLO with it yet.
    // Try again then. A home that does not answer asks us when it starts again.
    for (Backoff pauses(milliseconds(50), kMaxBackoff); !pauses.is_longest();) {
      if (!table_.find_imported(cookie) || services_.settings.address_for(address) != address)
        break;
      Secret said = wire::pack_moved(imported.tuple, address, services_.settings.host,
                                     imported.service, imported.generation);
      const auto answer = co_await ask(imported.home, imported.home_control, std::move(said));
      if (!answer || *answer || (*answer).error().code == ENOENT) break;
      co_await sleep_for(pauses.next());
    }
  }
}

asio::awaitable<void> HomeProtocol::notify_ended(std::uint64_t number,
                                                 ImportedConnection imported) {
  // False if an operator has given up that host (forget_host).
  const std::function<bool()> is_due = [&] {
    return table_.journal().is_pending_end(number);
  };
  if (is_passive(imported.tuple)) {
    co_await claim_accepted(services_, table_, rules_, imported.tuple.local, imported, is_due);
    if (!is_due()) co_return;
  }
  std::optional<Clock::time_point> denied;
  for (Backoff pauses(milliseconds(20), kMaxBackoff);;) {
    const auto home = co_await ask(imported.home, imported.home_control,
                                   wire::pack_ended(imported.tuple, imported.generation));
    if (home && (*home || (*home).error().code == ENOENT)) break;
    if (imported.from != imported.home) {
      const auto before = co_await ask(imported.from, imported.from_control,
                                       wire::pack_ended(imported.tuple, imported.generation));
      if (before && *before) break;
    }
    if (home && !denied) denied = Clock::now();
    if (home && Clock::now() > *denied + kRejectionGracePeriod) {
      log::warn(
          "end_rejected_by_home",
          {{"connection", imported.tuple}, {"home", imported.home}, {"error", home->error()}});
      break;
    }
    co_await sleep_for(pauses.next());
    if (!is_due()) co_return;
  }
  table_.end_notice(number);
}

}  // namespace sockmi::daemon
