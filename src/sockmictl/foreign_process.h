// A process that knows nothing of sockmi, held still while one of its sockets is moved.
//
// sockmictl takes the socket itself, with the rights of whoever runs it, and the daemon gets it like any other export. So the kernel decides
// who may: exactly those who may ptrace(2) the process (its owner, unless it is not dumpable, Yama's rules included; and root). Rejected:
// to let the daemon take it. It would need CAP_SYS_PTRACE, power over every process of the host, and would have to know those rules by heart.
//
// Held, because a process that runs on would read bytes that have gone to the image already, or write some that nobody sends. To it this is
// as if it had got SIGSTOP and SIGCONT (its parent sees nothing). It goes on when this object, or sockmictl, ends.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <map>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::sockmictl {

// While this lives no signal reaches us but SIGKILL and SIGSTOP: who ended us in the middle would let the process run on with a socket that is being
// moved, or that has gone. What came meanwhile is done when this ends.
class SignalsHeld {
 public:
  SignalsHeld();
  ~SignalsHeld();
  SignalsHeld(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
};

class ForeignProcess {
 public:
  // EPERM: not by this user, or it is being traced. ESRCH: no such process.
  static Result<ForeignProcess> hold(pid_t pid);
  ForeignProcess(ForeignProcess&&) = default;
  ForeignProcess& operator=(ForeignProcess&&) = delete;
  ~ForeignProcess();

  Result<unique_fd> duplicate(int fd) const;  // EBADF: it has no such descriptor

 private:
  explicit ForeignProcess(pid_t pid) : pid_(pid) {}
  bool alive() const;
  Result<bool> hold_threads();  // whether there were new ones

  pid_t pid_;
  unique_fd handle_;               // stays this process's, whatever becomes of its number
  std::map<pid_t, long> threads_;  // those we hold, and the signal that each was about to get
};

}  // namespace sockmi::sockmictl
