// Contains exceptions in a thread that no event loop guards.
#pragma once

#include "base/spawn.h"

namespace sockmi::proxy {

// Calls `what`. Returns false if it has thrown, which is logged. `task`: a string
// literal, for the log.
template <class What>
bool attempt(const char* task, What&& what) noexcept {
  try {
    what();
    return true;
  } catch (...) {
    log::critical("task_failed", {{"task", task}, {"error", describe(std::current_exception())}});
    return false;
  }
}

}  // namespace sockmi::proxy
