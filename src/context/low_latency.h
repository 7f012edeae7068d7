// Reduces the latency of the event loop during a freeze.
//
// During a freeze the two daemons exchange messages every few dozen microseconds, while
// the peer waits. A sleep plus a wakeup costs as much as all the work in between, and on
// a busy host the daemons wait for other processes. So the event loop's thread runs at
// SCHED_FIFO, before all ordinary threads, and polls for a moment before it sleeps. It
// must not poll long, because the packet that it waits for may need this very CPU
// (ksoftirqd is an ordinary thread). Without permission for SCHED_FIFO it does not poll:
// where CPUs are scarce, the scheduler gives no precedence at wakeup to a thread that
// never sleeps. The mode ends after a fixed time, in case the other host does not answer.
//
// Before the freeze the two daemons stand by: they have the priority, and sleep. A daemon
// that polls would keep an ordinary thread from the CPU on which the awaited message has
// woken that thread (hosts that are namespaces of one kernel). A thread that already has
// the priority is woken on another CPU.
#pragma once

#include <chrono>
#include <cstddef>

namespace sockmi::daemon {

class LowLatency {
 public:
  using Clock = std::chrono::steady_clock;
  void stand_by();  // no effect without CAP_SYS_NICE
  void begin();
  void end();
  // Call it in each round of the event loop. `handled`: the number of events of the last
  // round. Returns true if the next round should poll, false if it may sleep.
  bool poll(std::size_t handled);

 private:
  Clock::time_point until_, idle_since_;
  bool on_ = false, polls_ = false;
};

}  // namespace sockmi::daemon
