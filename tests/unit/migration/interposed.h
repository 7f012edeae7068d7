// Time and system calls of a host that is a process of the test. The linker puts these in
// the place of the C library's (--wrap in tests/unit/CMakeLists.txt).
//
// Time is virtual: it stands still until the test moves it to the next timer, so that
// nothing depends on the speed of the machine.
//
// A visible action is a system call that changes what others see of the process, or what
// survives it: a write to a file, a change of a socket's mark or of its repair mode, a
// connect, a shutdown. Closing is none, because a process that dies closes everything.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

namespace sockmi::daemon {

inline constexpr std::int64_t kNoTimer = std::numeric_limits<std::int64_t>::max();

// From here on std::chrono::steady_clock returns `now` (nanoseconds), in this process.
void use_virtual_time(std::atomic<std::int64_t>& now);
// Returns the virtual time at which the event loop wants to wake up.
std::int64_t next_timer();
// Wakes the event loop if that time has come.
void fire_timer();
// `announce` is called before each visible action of the calling thread.
void on_visible_action(std::function<void(const std::string&)> announce);

}  // namespace sockmi::daemon
