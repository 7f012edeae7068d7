#include "migration/return_unclaimed.h"

#include <algorithm>

#include <sockmi/sockmi.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"
#include "migration/batching.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

// Interval between two checks of the import queue; kStepAtEnd: while the daemon stops.
constexpr milliseconds kMaxStep{250}, kStepAtEnd{20};
// An application that asks in a loop leaves gaps between its calls.
constexpr milliseconds kGap{1000};
// Time for an application to confirm that it has received an endpoint.
constexpr milliseconds kTakeTimeout{10000};
constexpr milliseconds kTakeTimeoutAtEnd{1000};  // the same, while the daemon stops
constexpr milliseconds kMinReturnBackoff{100}, kMaxReturnBackoff{5000};
constexpr milliseconds kDrain{20000}, kDrainWithoutHome{1000};
// After that, a waiting application no longer keeps the endpoint here.
constexpr unsigned kMostReturns = 16;
constexpr std::size_t kMaxReturnBatch = 64;

// Returns the imported connection if its home is another host; null if its home is here,
// or if it has none.
const ImportedConnection* elsewhere(Exports& exports, const ReadyEndpoint& ready) {
  const ImportedConnection* imported = exports.table.find_imported(ready.cookie);
  return imported && !imported->home.empty() && exports.table.is_foreign(*imported) ? imported
                                                                                    : nullptr;
}

milliseconds home_timeout(Exports& exports) {
  return std::max(exports.services.settings.wait, milliseconds(1000));
}

bool no_application_can_have(Exports& exports, const ReadyEndpoint& ready, Clock::time_point now) {
  if (exports.import_queue.is_wanted(ready)) return ready.came_back >= kMostReturns;
  const bool failed = std::ranges::any_of(
      ready.kept_from, [](const auto& each) { return each.second == Clock::time_point::max(); });
  return failed || (exports.services.settings.require_importer && now - ready.last_wanted > kGap);
}

bool is_due(Exports& exports, const ReadyEndpoint& ready, Clock::time_point now) {
  if (ready.hand_over || now < ready.next_try) return false;
  if (ready.return_failing_since || exports.services.stopping ||
      now - ready.since >= exports.services.settings.wait)
    return true;
  return elsewhere(exports, ready) && no_application_can_have(exports, ready, now);
}

// Returns the address of the group's home; any(): any host that accepts. The endpoints of
// a group may have several homes, of which one may be here: it goes to the first one that
// is elsewhere.
IpAddress target_of(Exports& exports, const std::vector<ReadyEndpoint>& group,
                    Clock::time_point now) {
  for (const ReadyEndpoint& ready : group) {
    const ImportedConnection* imported = elsewhere(exports, ready);
    const bool refused =
        ready.return_failing_since && now - *ready.return_failing_since >= home_timeout(exports);
    if (imported && (!refused || exports.services.stopping)) return imported->home_control.ip;
  }
  return {};
}

bool has_ended(const ReadyEndpoint& ready) {
  const auto facts = tcp::socket_info(ready.socket.get());
  return !facts || (!is_passive(ready.endpoint.state) && facts->state == tcp::kClose);
}

// An endpoint that has ended cannot move, and would keep the others of its group here.
void drop_ended(Exports& exports, std::vector<ReadyEndpoint>& group) {
  std::erase_if(group, [&](const ReadyEndpoint& ready) {
    if (!has_ended(ready)) return false;
    log::info("unclaimed_connection_ended", {{"connection", ready.tuple}});
    exports.import_queue.release(ready.id);
    return true;
  });
}

void reset(Exports& exports, const ReadyEndpoint& ready, const Error& why) {
  ++exports.services.counters.reset;
  log::error("unclaimed_connection_reset",
             {{"connection", ready.tuple},
              {"reason", "no application imported it, and no host accepts it"},
              {"error", why}});
  const linger abort{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(ready.socket.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
  exports.import_queue.release(ready.id);
}

// Puts the endpoints of a group back into the import queue, where an application may
// still take them, and schedules the next try. `was_last`: no other host is left to ask.
void stays(Exports& exports, std::vector<ReadyEndpoint> group, const Error& why, bool was_last) {
  const auto now = Clock::now();
  const std::size_t before = group.size();
  drop_ended(exports, group);
  if (group.empty()) return;
  // If one has ended, that may be why the others could not leave.
  const bool has_all = group.size() == before;
  if (was_last && has_all && !exports.services.stopping) {
    for (const ReadyEndpoint& ready : group)
      reset(exports, ready, why);
    return;
  }
  for (ReadyEndpoint& ready : group) {
    if (!ready.return_failing_since) {
      ready.return_failing_since = now;
      log::warn("unclaimed_connection_kept", {{"connection", ready.tuple}, {"error", why}});
    }
    const auto waited =
        std::chrono::duration_cast<milliseconds>(now - *ready.return_failing_since) / 2;
    ready.next_try =
        now + std::clamp(waited, kMinReturnBackoff,
                         exports.services.stopping ? 2 * kMinReturnBackoff : kMaxReturnBackoff);
  }
  exports.import_queue.add(std::move(group));
}

void has_left(Exports& exports, const ReadyEndpoint& ready, const IpAddress& target) {
  ++exports.services.counters.returned_home;
  const auto* reason =
      exports.services.stopping ? "this daemon stops" : "no application imported it";
  if (target.any()) {
    log::warn("unclaimed_connection_passed_on", {{"connection", ready.tuple}, {"reason", reason}});
  } else {
    log::warn("unclaimed_connection_returned", {{"connection", ready.tuple}, {"reason", reason}});
  }
  exports.import_queue.release(ready.id);
}

asio::awaitable<void> send(Exports& exports, std::vector<ReadyEndpoint> those, IpAddress target) {
  std::vector<ExportItem> items;
  for (const ReadyEndpoint& ready : those) {
    const wire::Endpoint& endpoint = ready.endpoint;
    items.push_back({ready.socket.dup(),
                     {.service = endpoint.service,
                      .owner = endpoint.owner,
                      .state = endpoint.state,
                      .tls = endpoint.tls,
                      .payload = endpoint.payload,
                      .group = static_cast<std::uint32_t>(ready.group)}});
    items.back().unclaimed = true;
  }
  const auto results = co_await export_endpoints(exports, std::move(items), target);
  auto result = results.begin();
  for (auto& group : by_group(std::move(those))) {
    std::vector<ReadyEndpoint> here;
    Error why;
    for (ReadyEndpoint& ready : group) {
      if (*result) {
        has_left(exports, ready, target);
      } else {
        why = result->error();
        here.push_back(std::move(ready));
      }
      ++result;
    }
    if (!here.empty()) stays(exports, std::move(here), why, target.any());
  }
}

// Exports endpoints that can move together as one batch.
void send_all(Exports& exports, std::vector<ReadyEndpoint> those) {
  const auto now = Clock::now();
  std::map<std::tuple<IpAddress, std::string, decltype(wire::Endpoint::owner), std::uint8_t>,
           std::vector<ReadyEndpoint>>
      batches;
  const auto start = [&](const IpAddress& target, std::vector<ReadyEndpoint> batch) {
    spawn(exports.services.io, "send_home", send(exports, std::move(batch), target));
  };
  for (auto& group : by_group(std::move(those))) {
    drop_ended(exports, group);
    if (group.empty()) continue;
    const ReadyEndpoint& first = group.front();
    const IpAddress target = target_of(exports, group, now);
    auto& batch =
        batches[{target, first.endpoint.service, first.endpoint.owner, first.endpoint.state}];
    std::ranges::move(group, std::back_inserter(batch));
    if (batch.size() >= kMaxReturnBatch) start(target, std::exchange(batch, {}));
  }
  for (auto& [key, batch] : batches)
    if (!batch.empty()) start(std::get<0>(key), std::move(batch));
}

}  // namespace

asio::awaitable<void> return_unclaimed(Exports& exports, Deliveries& deliveries,
                                       HandOvers& hand_overs) {
  const auto step = std::clamp(exports.services.settings.wait / 4, milliseconds(50), kMaxStep);
  for (auto next = Clock::now();;) {
    const auto pause = exports.services.stopping ? kStepAtEnd : step;
    co_await sleep_for(pause);
    const auto now = Clock::now();
    if (now >= next) {
      exports.services.steering->forget_idle(exports.services.settings.freeze_timeout);
      next = now + step;
    }
    deliveries.take_back(now - std::min(kTakeTimeout, exports.services.settings.wait));
    exports.import_queue.look_after();
    if (exports.services.settings.require_importer) hand_overs.give_back_unwanted();
    send_all(exports, exports.import_queue.take_if(
                          [&](const ReadyEndpoint& ready) { return is_due(exports, ready, now); }));
  }
}

asio::awaitable<void> finish_moves(Exports& exports, Deliveries& deliveries,
                                   const Importer& importer) {
  const auto began = Clock::now();
  const auto is_waited_for = [&](const ReadyEndpoint& ready) {
    return !ready.return_failing_since ||
           Clock::now() - *ready.return_failing_since <
               (elsewhere(exports, ready) ? kDrain : kDrainWithoutHome);
  };
  for (;; co_await sleep_for(kStepAtEnd)) {
    const auto now = Clock::now();
    deliveries.take_back(now - kTakeTimeoutAtEnd);
    const bool doubt = importer.in_doubt() &&
                       now < began + exports.services.settings.freeze_timeout + milliseconds(1000);
    const bool busy = doubt || exports.under_way > 0 || !deliveries.empty() ||
                      std::ranges::any_of(exports.import_queue.ready(), is_waited_for);
    if (!busy || now > began + kDrain) break;
  }
  for (const ReadyEndpoint& ready : exports.import_queue.ready()) {
    log::error(
        "unclaimed_connection_lost",
        {{"connection", ready.tuple}, {"reason", "the daemon stops, and no host accepts it"}});
  }
  if (exports.under_way > 0 || importer.in_doubt()) {
    log::error("daemon_stopped_in_moves",
               {{"exports", exports.under_way}, {"in_doubt", importer.in_doubt()}});
  }
}

}  // namespace sockmi::daemon
