// Starts a coroutine whose end no code waits for, and defines what happens if it throws.
//
// asio::detached drops an exception: a loop that accepts, listens or watches would end
// silently, and the daemon would look healthy but not react any more. So an exception in
// such a coroutine logs an error and aborts the process. Then the crash guard unfreezes
// frozen endpoints, and the service manager starts the next daemon. A coroutine that
// serves one client or one connection is different: what that client sends must not be
// able to end the daemon, so only that coroutine ends.
#pragma once

#include <cstdlib>
#include <exception>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>

#include "base/log.h"

namespace sockmi {

enum class OnException { EndProcess, EndTask };

// Returns the text of an exception, for the log.
inline std::string describe(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception of unknown type";
  }
}

// Runs `task` on `executor`, which may be an execution context. `name`: a string literal,
// for the log.
template <class Executor>
void spawn(Executor&& executor, const char* name, boost::asio::awaitable<void> task,
           OnException on_exception = OnException::EndProcess) {
  boost::asio::co_spawn(
      executor, std::move(task), [name, on_exception](const std::exception_ptr& thrown) {
        if (!thrown) return;
        log::critical("task_failed", {{"task", name}, {"error", describe(thrown)}});
        if (on_exception == OnException::EndProcess) std::abort();
      });
}

}  // namespace sockmi
