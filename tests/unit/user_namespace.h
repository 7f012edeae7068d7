// Makes a test without root the root of a user namespace of its own.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <fstream>

namespace sockmi::test {

// Returns false if this is not possible. Call it before the process has threads.
inline bool become_root() {
  const auto uid = ::geteuid(), gid = ::getegid();
  if (uid == 0) return true;
  if (::unshare(CLONE_NEWUSER) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
  std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
  return true;
}

}  // namespace sockmi::test
