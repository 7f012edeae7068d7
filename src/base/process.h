// What a program asks of the kernel for its own process.
#pragma once

#include <sys/prctl.h>
#include <sys/resource.h>

namespace sockmi::process {

// Raises the limit of descriptors as far as it goes.
inline void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

// Keeps the memory private: only root can read it, and it does not get into a core file.
// A change of the user undoes the first.
inline void keep_memory_private() {
  const rlimit none{0, 0};
  (void)::setrlimit(RLIMIT_CORE, &none);
  (void)::prctl(PR_SET_DUMPABLE, 0);
}

}  // namespace sockmi::process
