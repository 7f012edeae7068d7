// While an endpoint is frozen its peer waits for two daemons that wait for each other, a few dozen microseconds at a time. To be put to sleep and woken
// costs as much as all that they do in between, and on a busy host they wait for whoever else is running. So for that time the event loop's
// thread runs before all ordinary threads (SCHED_FIFO), and polls for a moment before it sleeps: a moment only, for what it waits for may need this
// very processor (ksoftirqd is an ordinary thread). Without the priority it does not poll: where processors are scarce, who never sleeps is
// given no precedence when it wakes. The whole is bounded, should the other host not answer.
//
// Before the freeze the two stand by: they have the priority, and sleep. Who polls would keep an ordinary thread from the very processor on which the
// message that it waits for has woken it (hosts that are namespaces of one kernel); a thread with the priority is woken on another.
#pragma once

#include <chrono>
#include <cstddef>

namespace sockmi::daemon {

class LowLatency {
 public:
  using Clock = std::chrono::steady_clock;
  void stand_by();  // nothing where it is not allowed (CAP_SYS_NICE)
  void begin();
  void end();
  // To be told in each round of the event loop how many events the last one handled. Whether this one shall poll, else it may sleep.
  bool poll(std::size_t handled);

 private:
  Clock::time_point until_, idle_since_;
  bool on_ = false, polls_ = false;
};

}  // namespace sockmi::daemon
