// Waits for packets that had passed our hooks before a rule changed and may still be on
// their way to a socket (stragglers).
//
// The kernel handles a packet from the hook to the socket within one RCU read-side
// section. So waiting for a grace period is sufficient, and
// membarrier(MEMBARRIER_CMD_GLOBAL) waits for one. A plain grace period takes 7-15 ms, an
// expedited one microseconds (it interrupts the processors that are busy).
// /sys/kernel/rcu_expedited selects one of the two for the whole machine, so it is set
// for as short a time as possible.
//
// Another thread of this process, or another process (a daemon in another network
// namespace), may need it at the same time. Each might restore the value that it found
// while the other still needs it set. Therefore the process that sets the switch holds a
// lock on the file. A process that does not get the lock leaves the switch alone, and
// most likely finds it set anyway. The value written is a number of our own. A process
// that finds this number and gets the lock knows that the writer has died, and that 0
// must be restored. Any other number except 0 was set by the administrator
// (rcupdate.rcu_expedited=1) and stays.
//
// Alternatives considered: a thread that visits every processor with
// sched_setaffinity(2). Softirqs are not preempted, so once it has run on a processor, no
// packet there is still past the hook. But on PREEMPT_RT softirqs are preempted, a cpuset
// may exclude a processor, and on a busy processor the visit waits for its turn. 70 us on
// two idle processors are not better than the expedited form, and would be useful only if
// that form is not allowed.
#include "steer/rcu_barrier.h"

#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>

#include "base/sockmi_tag.h"
#include "base/unique_fd.h"

namespace sockmi::steer {
namespace {

constexpr const char* kSwitch = "/sys/kernel/rcu_expedited";
constexpr int kOwnValue = kSockmiTag;

int read_switch(int fd) {
  char text[16] = {};
  return ::pread(fd, text, sizeof text - 1, 0) > 0 ? std::atoi(text) : -1;
}

bool write_switch(int fd, int value) {
  const std::string text = std::to_string(value);
  return ::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
}

// Expedites the machine's grace periods during its lifetime, if possible.
class Expedited {
 public:
  Expedited() : fd_(::open(kSwitch, O_RDWR | O_CLOEXEC)) {
    possible_ = bool(fd_);
    if (!fd_ || ::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) return;
    const int found = read_switch(fd_.get());
    if (found == 0 || found == kOwnValue) possible_ = set_ = write_switch(fd_.get(), kOwnValue);
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

// Serializes our own threads. They wait for it; it is held only briefly.
std::mutex mutex;

}  // namespace

Result<> barrier() {
  std::lock_guard lock(mutex);
  const Expedited expedited;
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
    return fail_errno("cannot use membarrier");
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
