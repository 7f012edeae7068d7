#include "migration/return_unclaimed.h"

#include <algorithm>

#include <sockmi/sockmi.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/spawn.h"
#include "connections/redirects.h"
#include "context/async_event.h"
#include "migration/exporter.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

// Interval between two checks of the import queue; kHaste: while the daemon stops.
constexpr milliseconds kMaxStep{250}, kHaste{20};
// An application that asks in a loop leaves gaps between its calls.
constexpr milliseconds kGap{1000};
// Time for an application to confirm that it has received an endpoint.
constexpr milliseconds kTaking{10000};
constexpr milliseconds kTakingAtEnd{1000};  // the same, while the daemon stops
constexpr milliseconds kMinReturnBackoff{100}, kMaxReturnBackoff{5000};
constexpr milliseconds kDrain{20000}, kDrainWithoutHome{1000};
// After that, a waiting application no longer keeps the endpoint here.
constexpr unsigned kMostReturns = 16;
constexpr std::size_t kMaxReturnBatch = 64;

// Returns the imported connection if its home is another host; null if its home is here,
// or if it has none.
const ImportedConnection* elsewhere(const World& world, const ReadyEndpoint& ready) {
  const ImportedConnection* imported = world.table.find_imported(ready.cookie);
  return imported && !imported->home.empty() && world.table.is_foreign(*imported) ? imported
                                                                                  : nullptr;
}

milliseconds patience_with_home(const World& world) {
  return std::max(world.settings.wait, milliseconds(1000));
}

bool no_application_can_have(const World& world, const ReadyEndpoint& ready,
                             Clock::time_point now) {
  if (world.import_queue.is_wanted(ready)) return ready.came_back >= kMostReturns;
  const bool failed = std::ranges::any_of(
      ready.kept_from, [](const auto& each) { return each.second == Clock::time_point::max(); });
  return failed || (world.settings.require_importer && now - ready.last_wanted > kGap);
}

bool is_due(const World& world, const ReadyEndpoint& ready, Clock::time_point now) {
  if (now < ready.next_try) return false;
  if (ready.homeless_since || world.stopping || now - ready.since >= world.settings.wait)
    return true;
  return elsewhere(world, ready) && no_application_can_have(world, ready, now);
}

// Returns home's address; any(): any host that accepts.
IpAddress target_of(const World& world, const ReadyEndpoint& ready, Clock::time_point now) {
  const ImportedConnection* guest = elsewhere(world, ready);
  const bool refused =
      ready.homeless_since && now - *ready.homeless_since >= patience_with_home(world);
  return guest && (!refused || world.stopping) ? guest->home_control.ip : IpAddress{};
}

bool has_ended(const ReadyEndpoint& ready) {
  const auto facts = tcp::socket_info(ready.socket.get());
  return !facts || (!is_passive(ready.endpoint.state) && facts->state == tcp::kClose);
}

void reset(World& world, const ReadyEndpoint& ready, const Error& why) {
  ++world.counters.reset;
  log::error(
      "event=reset connection={} reason=\"nobody imported it, and no host would have it\" "
      "error=\"{}\"",
      to_string(ready.tuple), to_string(why));
  const linger abort{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(ready.socket.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
  world.import_queue.release(ready.id);
}

// Puts the endpoint back into the import queue, where an application may still take it,
// and schedules the next try.
void stays(World& world, ReadyEndpoint ready, const Error& why, bool was_last) {
  const auto now = Clock::now();
  if (has_ended(ready)) {
    log::info("event=ended_unclaimed connection={}", to_string(ready.tuple));
    return world.import_queue.release(ready.id);
  }
  if (was_last && !world.stopping) return reset(world, ready, why);
  if (!ready.homeless_since) {
    ready.homeless_since = now;
    log::warn("event=not_returned_yet connection={} error=\"{}\"", to_string(ready.tuple),
              to_string(why));
  }
  const auto waited = std::chrono::duration_cast<milliseconds>(now - *ready.homeless_since) / 2;
  ready.next_try = now + std::clamp(waited, kMinReturnBackoff,
                                    world.stopping ? 2 * kMinReturnBackoff : kMaxReturnBackoff);
  world.import_queue.add(std::move(ready));
}

asio::awaitable<void> send(World& world, std::vector<ReadyEndpoint> those, IpAddress target) {
  std::vector<ExportItem> departures;
  for (const ReadyEndpoint& ready : those) {
    const wire::Endpoint& endpoint = ready.endpoint;
    departures.push_back({ready.socket.dup(),
                          {.service = endpoint.service,
                           .owner = endpoint.owner,
                           .state = endpoint.state,
                           .tls = endpoint.tls,
                           .payload = endpoint.payload}});
  }
  auto results = co_await export_endpoints(world, std::move(departures), target);
  for (std::size_t i = 0; i < those.size(); ++i) {
    if (!results[i]) {
      stays(world, std::move(those[i]), results[i].error(), target.any());
      continue;
    }
    ++world.counters.returned_home;
    log::warn("event={} connection={} reason=\"{}\"", target.any() ? "sent_on" : "returned_home",
              to_string(those[i].tuple),
              world.stopping ? "this daemon stops" : "nobody imported it");
    world.import_queue.release(those[i].id);
  }
}

// Exports endpoints that can move together as one batch.
void send_all(World& world, std::vector<ReadyEndpoint> those) {
  const auto now = Clock::now();
  std::map<std::tuple<IpAddress, std::string, decltype(wire::Endpoint::owner), std::uint8_t>,
           std::vector<ReadyEndpoint>>
      batches;
  const auto start = [&](const IpAddress& target, std::vector<ReadyEndpoint> batch) {
    spawn(world.io, "send_home", send(world, std::move(batch), target));
  };
  for (ReadyEndpoint& ready : those) {
    const IpAddress target = target_of(world, ready, now);
    auto& batch =
        batches[{target, ready.endpoint.service, ready.endpoint.owner, ready.endpoint.state}];
    batch.push_back(std::move(ready));
    if (batch.size() == kMaxReturnBatch) start(target, std::exchange(batch, {}));
  }
  for (auto& [key, batch] : batches)
    if (!batch.empty()) start(std::get<0>(key), std::move(batch));
}

}  // namespace

asio::awaitable<void> return_unclaimed(World& world) {
  const auto step = std::clamp(world.settings.wait / 4, milliseconds(50), kMaxStep);
  for (auto next = Clock::now();;) {
    const auto pause = world.stopping ? kHaste : step;
    co_await sleep_for(pause);
    const auto now = Clock::now();
    if (now >= next) {
      world.steering->forget_idle(world.settings.freeze_timeout);
      next = now + step;
    }
    world.deliveries.take_back(now - std::min(kTaking, world.settings.wait));
    world.import_queue.look_after();
    send_all(world, world.import_queue.take_if(
                        [&](const ReadyEndpoint& ready) { return is_due(world, ready, now); }));
  }
}

asio::awaitable<void> drain(World& world, const Importer& arrivals) {
  const auto began = Clock::now();
  const auto is_waited_for = [&](const ReadyEndpoint& ready) {
    return !ready.homeless_since || Clock::now() - *ready.homeless_since <
                                        (elsewhere(world, ready) ? kDrain : kDrainWithoutHome);
  };
  for (;; co_await sleep_for(kHaste)) {
    const auto now = Clock::now();
    world.deliveries.take_back(now - kTakingAtEnd);
    const bool doubt =
        arrivals.in_doubt() && now < began + world.settings.freeze_timeout + milliseconds(1000);
    const bool busy = doubt || world.exports_under_way > 0 || !world.deliveries.empty() ||
                      std::ranges::any_of(world.import_queue.ready(), is_waited_for);
    if (!busy || now > began + kDrain) break;
  }
  for (const ReadyEndpoint& ready : world.import_queue.ready())
    log::error("event=lost_at_stop connection={} reason=\"no host would have it\"",
               to_string(ready.tuple));
  if (world.exports_under_way > 0 || arrivals.in_doubt())
    log::error("event=stopped_in_moves exports={} in_doubt={}", world.exports_under_way,
               arrivals.in_doubt());
}

}  // namespace sockmi::daemon
