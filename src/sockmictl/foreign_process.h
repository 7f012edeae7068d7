// Stops a process that does not use sockmi while one of its sockets is moved.
//
// Design. sockmictl duplicates the socket itself, with the rights of the user that runs
// it, and passes it to the daemon like any other export. So the kernel decides which
// users may do this: exactly those that may ptrace(2) the process (its owner, unless the
// process is not dumpable, and subject to Yama's rules; and root).
//
// Alternatives considered: letting the daemon take the socket. It would need
// CAP_SYS_PTRACE, which gives power over every process of the host, and it would have to
// implement those rules itself.
//
// The process is stopped because otherwise it would read bytes that are in the image
// already, or write bytes that are not sent any more. To the process this looks like
// SIGSTOP and SIGCONT (its parent is not notified). It continues when this object is
// destroyed, or sockmictl ends.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <map>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::sockmictl {

// Blocks all signals except SIGKILL and SIGSTOP for its lifetime. A signal that ended
// sockmictl in the middle would let the process run with a socket that is being moved or
// has moved. Signals that arrive meanwhile are delivered afterwards.
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
  // Stops all threads of a process. Errors: EPERM if this user may not do so, or if the
  // process is being traced already; ESRCH if there is no such process.
  static Result<ForeignProcess> hold(pid_t pid);
  ForeignProcess(ForeignProcess&&) = default;
  ForeignProcess& operator=(ForeignProcess&&) = delete;
  ~ForeignProcess();

  Result<unique_fd> duplicate(int fd) const;  // EBADF if it has no such descriptor

 private:
  explicit ForeignProcess(pid_t pid) : pid_(pid) {}
  bool alive() const;
  Result<bool> hold_threads();  // whether there were new threads

  pid_t pid_;
  // Refers to this process even if its number is used again.
  unique_fd handle_;
  // The stopped threads, each with the signal that it was about to receive.
  std::map<pid_t, long> threads_;
};

}  // namespace sockmi::sockmictl
