// Puts a test program into a sandbox: with process ids, mounts and networks of its own,
// so that a daemon that starts looks for sockets and namespaces among the test's alone.
#pragma once

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/user_namespace.h"

namespace sockmi::test {

inline bool unshare_all() {
  return become_root() && ::unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET) == 0;
}

inline int status_of(pid_t child) {
  for (;;) {
    int status = 0;
    const pid_t ended = ::wait(&status);
    if (ended < 0) return 1;
    if (ended != child) continue;  // an orphan
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

// Continues in a process of a sandbox; the caller's waits for it, and ends as it does.
// Returns false, in the caller's process, if no sandbox can be had.
inline bool enter_sandbox() {
  if (!unshare_all()) return false;
  const pid_t init = ::fork();
  // Not by exit(): the leak check starts a process, and the namespace of process ids in
  // which it would start has ended with `init`.
  if (init != 0) ::_exit(status_of(init));
  // The first process of the sandbox adopts orphans.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const bool is_whole = ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                        ::mount("proc", "/proc", "proc", 0, nullptr) == 0;
  const pid_t tests = ::fork();
  if (tests != 0) ::_exit(status_of(tests));
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return is_whole;
}

}  // namespace sockmi::test
