// A packet that had passed our hooks before a rule changed may still be on its way to a socket: such stragglers have to be waited for.
//
// The kernel handles a packet from the hook to the socket within one RCU read-side section, so a grace period is the wait, and
// membarrier(MEMBARRIER_CMD_GLOBAL) is a grace period. A plain one takes 7-15 ms, an expedited one microseconds (it interrupts the processors
// that are busy). Which of the two it is, /sys/kernel/rcu_expedited says, for the whole machine: it is set as narrowly as can be.
//
// Others may want the same at the same time, in this process or in another (a daemon in another network namespace), and each might put back
// what it found while the other is in need of it. Therefore whoever sets it holds a lock on the file; who does not get the lock goes without,
// and most likely finds it set all the same. What is written is a number of our own: whoever finds it and has the lock knows that its writer
// died, and that 0 is to be put back. Any other number but 0 is the administrator's (rcupdate.rcu_expedited=1) and stays.
//
// Rejected: a thread that visits every processor by sched_setaffinity(2). Softirqs are not preempted, so having run on a processor means that
// none is past the hook there. But on PREEMPT_RT they are, a cpuset may keep us from a processor, and on busy ones each visit waits for its
// turn; 70 us on two idle processors are no gain over the expedited form, and would matter only where that is not allowed.
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>

#include "base/unique_fd.h"
#include "steer/steering.h"

namespace sockmi::steer {
namespace {

constexpr const char* kSwitch = "/sys/kernel/rcu_expedited";
constexpr int kOurs = 29547;

int read_switch(int fd) {
  char text[16] = {};
  return ::pread(fd, text, sizeof text - 1, 0) > 0 ? std::atoi(text) : -1;
}

bool write_switch(int fd, int value) {
  const std::string text = std::to_string(value);
  return ::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
}

// The machine's grace periods are expedited while this lives, if that is possible.
class Expedited {
 public:
  Expedited() : fd_(::open(kSwitch, O_RDWR | O_CLOEXEC)) {
    possible_ = bool(fd_);
    if (!fd_ || ::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) return;
    const int found = read_switch(fd_.get());
    if (found == 0 || found == kOurs) possible_ = set_ = write_switch(fd_.get(), kOurs);
  }
  Expedited(const Expedited&) = delete;
  ~Expedited() {
    if (set_) (void)write_switch(fd_.get(), 0);
  }
  bool possible() const { return possible_; }

 private:
  unique_fd fd_;
  bool set_ = false, possible_ = false;
};

std::mutex mutex;  // between our own threads: they wait for the lock, it is not for long

}  // namespace

Result<> barrier() {
  std::lock_guard lock(mutex);
  const Expedited expedited;
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) return fail_errno("membarrier");
  return {};
}

const char* barrier_form() {
  static const bool expedited = [] {
    std::lock_guard lock(mutex);
    return Expedited().possible();
  }();
  return expedited ? "expedited" : "plain";
}

}  // namespace sockmi::steer
