#include "sockmictl/foreign_process.h"

#include <poll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <charconv>
#include <filesystem>

namespace sockmi::sockmictl {

SignalsHeld::SignalsHeld() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before_);
}

SignalsHeld::~SignalsHeld() {
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

Result<ForeignProcess> ForeignProcess::hold(pid_t pid) {
  ForeignProcess process(pid);
  process.handle_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process.handle_) return fail_errno(fmt::format("cannot attach to process {}", pid));
  // A thread that is not stopped yet may start others.
  for (bool more = true; more;) {
    TRY_LET(found, process.hold_threads());
    more = found;
  }
  // The process that we opened is still alive, so its number has not been used for
  // another one.
  if (!process.alive() || process.threads_.empty()) return fail(ESRCH, "process {} has ended", pid);
  return process;
}

bool ForeignProcess::alive() const {
  pollfd ended{handle_.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 0;
}

Result<bool> ForeignProcess::hold_threads() {
  bool found = false;
  std::error_code error;
  // Increments with an error code: the process may end during the iteration.
  for (std::filesystem::directory_iterator entry(fmt::format("/proc/{}/task", pid_), error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    pid_t thread = 0;
    std::from_chars(name.data(), name.data() + name.size(), thread);
    if (threads_.contains(thread)) continue;
    if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
      if (errno == ESRCH) continue;  // it has just ended
      return fail_errno(fmt::format("cannot stop process {}", pid_));
    }
    found = true;
    threads_[thread] = 0;
    ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    int status = 0;
    while (::waitpid(thread, &status, __WALL) < 0 && errno == EINTR) {
    }
    // Any stop other than the requested one is a signal on its way. The thread gets it at
    // the end.
    if (!WIFSTOPPED(status)) {
      threads_.erase(thread);
    } else if (status >> 16 == 0) {
      threads_[thread] = WSTOPSIG(status);
    }
  }
  if (error) {
    return fail(error.value() == ENOENT ? ESRCH : error.value(), "cannot inspect process {}: {}",
                pid_, error.message());
  }
  return found;
}

ForeignProcess::~ForeignProcess() {
  for (const auto& [thread, signal] : threads_)
    ::ptrace(PTRACE_DETACH, thread, nullptr, signal);
}

Result<unique_fd> ForeignProcess::duplicate(int fd) const {
  unique_fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, handle_.get(), fd, 0)));
  if (!copy) return fail_errno(fmt::format("cannot get descriptor {} of process {}", fd, pid_));
  return copy;
}

}  // namespace sockmi::sockmictl
