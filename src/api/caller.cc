#include "api/caller.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

#include <fmt/core.h>

#include "base/unique_fd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif

namespace sockmi::api {
namespace {

// Returns a descriptor that stands for this process, and never for a later one with the
// same number.
unique_fd pidfd_of(int socket, pid_t pid) {
  int fd = -1;
  socklen_t size = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) return unique_fd(fd);
  return unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// Returns how many numbers a process has in our process namespace and those below it, as
// the kernel lists them: a process of our own namespace has one. 0: it has ended, or is
// in none of these namespaces. (/proc/PID/ns/pid has the namespace too, but is readable
// only for a process that has all of that process's capabilities.)
std::size_t numbers_of(int pidfd) {
  std::ifstream facts(fmt::format("/proc/self/fdinfo/{}", pidfd));
  for (std::string line; std::getline(facts, line);) {
    std::istringstream words(line);
    std::string key, number;
    std::size_t count = 0;
    if (!(words >> key) || key != "NSpid:") continue;
    while (words >> number) {
      if (number.starts_with("-") || number == "0") return 0;
      ++count;
    }
    return count;
  }
  return 0;
}

// True if the process is visibly in another user namespace. To be called while the pidfd
// is held, and before checking that the process lives.
bool is_in_another_user_namespace(pid_t pid) {
  struct stat ours {
  }, theirs{};
  if (::stat("/proc/self/ns/user", &ours) != 0 ||
      ::stat(fmt::format("/proc/{}/ns/user", pid).c_str(), &theirs) != 0)
    return false;
  return ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev;
}

}  // namespace

User caller_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return {kNoUid, "?"};
  if (peer.uid != 0) return {peer.uid, ""};
  User unnamed{0, "uid:0 of a container"};
  if (peer.pid <= 0) return unnamed;
  const unique_fd pidfd = pidfd_of(socket, peer.pid);
  if (!pidfd || is_in_another_user_namespace(peer.pid) || numbers_of(pidfd.get()) != 1)
    return unnamed;
  return {0, "root"};
}

}  // namespace sockmi::api
