// The end of a drain that resets what it could not move.
#include "base/freeze_mark.h"
#include "base/log.h"
#include "context/async_event.h"
#include "drain/drain.h"
#include "net/sock_diag.h"

namespace sockmi::daemon {
namespace {

// For orders that are under way at the deadline: what is being exported is not reset.
constexpr milliseconds kLastAnswers{10'000};
constexpr milliseconds kLookPause{50};

}  // namespace

asio::awaitable<void> Drain::end(std::uint64_t run, DrainPhase phase) {
  if (state_.order.on_stuck == OnStuck::Cut && phase != DrainPhase::Done) co_await cut_stuck(run);
  if (is_active(run)) finish(phase);
}

asio::awaitable<void> Drain::cut_stuck(std::uint64_t run) {
  for (const auto until = Clock::now() + kLastAnswers; orders_ > 0 && Clock::now() < until;) {
    co_await sleep_for(kLookPause);
    if (!is_active(run)) co_return;
  }
  std::vector<LocalConnection> stuck;
  for (const auto& [cookie, tracked] : tracked_) {
    // A program that has not said that it holds the connection does not lose it. One that
    // no host takes, or about which an application is silent, may be another program's.
    const bool is_held = !tracked.connection.service.empty();
    if (is_held && !tracked.ordered) stuck.push_back(tracked.connection);
  }
  for (const LocalConnection& connection : stuck)
    cut(connection);
}

// A socket that is frozen is being moved, or in doubt: its connection may live elsewhere.
void Drain::cut(const LocalConnection& connection) {
  const FourTuple& tuple = connection.tuple;
  const auto done = services_.steering->within(tuple.local.ip, [&]() -> Result<> {
    TRY_LET(socket, net::find_by_cookie(tuple, connection.cookie));
    if (socket.mark == kFreezeMark) return fail(EBUSY, "it is being moved");
    return net::destroy(tuple, connection.cookie);
  });
  if (!done) {
    if (const auto left = tracked_.find(connection.cookie); left != tracked_.end())
      left->second.reason = fmt::format("cannot be cut: {}", done.error().reason);
    return;
  }
  log::info("connection_cut", {{"local", tuple.local}, {"peer", tuple.remote}});
  ++state_.cut;
  tracked_.erase(connection.cookie);
}

}  // namespace sockmi::daemon
