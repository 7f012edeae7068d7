// Repairs kernel state that others have changed.
//
// The first repair after a quiet period is made immediately, because packets are lost
// until then. If something removes our rules again and again, or causes floods of
// changes, the pauses between repairs become longer, so that repairs do not keep the
// daemon from its work. Connections survive even the longest pause.
#include "connections/kernel_state.h"

#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/backoff.h"
#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kQuietTime{5000}, kMinRepairPause{10}, kMaxRepairPause{500};
constexpr int kShare = 9;  // a check is followed by a pause of kShare times its duration
constexpr milliseconds kFirstRetry{20}, kLastRetry{1000};

class Keeper {
 public:
  Keeper(Connections& connections, KernelState& repairs)
      : connections_(connections),
        upkeep_(*connections.services.steering),
        repairs_(repairs) {}

  asio::awaitable<void> repair() {
    if (Clock::now() > last_ + kQuietTime) pause_ = milliseconds(0);
    if (pause_ > milliseconds(0)) {
      co_await sleep_for(pause_);
      (void)upkeep_.is_disturbed();  // changes of the meantime are repaired together
    }
    for (Backoff retries(kFirstRetry, kLastRetry); !look();) {
      co_await sleep_for(retries.next());
      // Repeats the check for all namespaces: a container whose tables cannot be repaired
      // does not keep the others from being repaired.
      (void)upkeep_.is_disturbed();
    }
  }

 private:
  // Checks and repairs everything once. Returns true if nothing is left to repair.
  bool look() {
    const auto began = Clock::now();
    const auto repaired = upkeep_.repair();
    if (auto hosts = upkeep_.take_rerouted(); !hosts.empty()) {
      spawn(connections_.services.io, "tell_ways",
            connections_.homes.notify_routes(std::move(hosts)));
    }
    last_ = Clock::now();
    const auto took = std::chrono::ceil<milliseconds>(last_ - began);
    pause_ = std::min(kMaxRepairPause, std::max(pause_, kShare * took));
    if (!repaired) {
      const std::string error = to_string(repaired.error());
      if (error != repairs_.error) log::error("rules_repair_failed", {{"error", error}});
      repairs_.error = error;
      return false;
    }
    repairs_.error.clear();
    if (repaired->empty()) return true;
    ++repairs_.count;
    repairs_.last = *repaired;
    log::warn("rules_repaired", {{"repaired", *repaired}, {"took", took}});
    pause_ = std::clamp(2 * pause_, kMinRepairPause, kMaxRepairPause);
    return true;
  }

  Connections& connections_;
  steer::Upkeep& upkeep_;
  KernelState& repairs_;
  milliseconds pause_{0};
  Clock::time_point last_;
};

}  // namespace

asio::awaitable<void> keep_up(Connections& connections, KernelState& repairs) {
  steer::Upkeep& upkeep = *connections.services.steering;
  Keeper keeper(connections, repairs);
  asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor, ::dup(upkeep.fd()));
  for (;;) {
    boost::system::error_code error;
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                   asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    if (upkeep.is_disturbed()) co_await keeper.repair();
  }
}

}  // namespace sockmi::daemon
