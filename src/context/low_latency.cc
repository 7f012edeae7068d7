#include "context/low_latency.h"

#include <sched.h>

namespace sockmi::daemon {
namespace {

constexpr std::chrono::microseconds kMaxLowLatencyTime{5000}, kSpinTime{150};

bool schedule(int policy, int priority) {
  const sched_param parameters{.sched_priority = priority};
  return ::sched_setscheduler(0, policy, &parameters) == 0;  // of the calling thread
}

}  // namespace

void LowLatency::stand_by() {
  if (!on_) on_ = schedule(SCHED_FIFO | SCHED_RESET_ON_FORK, 1);
  idle_since_ = Clock::now();
  until_ = idle_since_ + kMaxLowLatencyTime;
}

void LowLatency::begin() {
  stand_by();
  polls_ = true;
}

void LowLatency::end() {
  if (on_) schedule(SCHED_OTHER, 0);
  on_ = polls_ = false;
}

bool LowLatency::poll(std::size_t handled) {
  if (!on_) return false;
  const auto now = Clock::now();
  if (now > until_) end();
  if (handled > 0) idle_since_ = now;
  return polls_ && now - idle_since_ < kSpinTime;
}

}  // namespace sockmi::daemon
