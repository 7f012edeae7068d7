#include "interposed.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include <fmt/format.h>

namespace sockmi::daemon {
namespace {

std::atomic<std::int64_t>* virtual_now = nullptr;
int timer = -1;  // Asio's
std::int64_t due = kNoTimer;
thread_local std::function<void(const std::string&)> announce;

void say(const std::string& action) {
  if (announce) announce(action);
}

// A freeze delta has its migration's id in its name, which differs from run to run.
std::string name_of(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  return name.starts_with("late-") ? "late-ID" : name;
}

}  // namespace

void use_virtual_time(std::atomic<std::int64_t>& now) {
  virtual_now = &now;
}

std::int64_t next_timer() {
  return due;
}

void on_visible_action(std::function<void(const std::string&)> call) {
  announce = std::move(call);
}

}  // namespace sockmi::daemon

using sockmi::daemon::announce;
using sockmi::daemon::due;
using sockmi::daemon::name_of;
using sockmi::daemon::say;
using sockmi::daemon::timer;
using sockmi::daemon::virtual_now;
using SteadyTime = std::chrono::steady_clock::time_point;

// NOLINTBEGIN(bugprone-reserved-identifier): the linker wants these names.
SteadyTime real_steady_now() asm("__real__ZNSt6chrono3_V212steady_clock3nowEv");
SteadyTime steady_now() asm("__wrap__ZNSt6chrono3_V212steady_clock3nowEv");
extern "C" {
int __real_timerfd_settime(int, int, const itimerspec*, itimerspec*);
ssize_t __real_write(int, const void*, size_t);
int __real_setsockopt(int, int, int, const void*, socklen_t);
int __real_connect(int, const sockaddr*, socklen_t);
int __real_shutdown(int, int);
int __real_unlink(const char*);
}

// Each look at the clock takes a microsecond, so that a loop with a deadline ends.
SteadyTime steady_now() {
  if (!virtual_now) return real_steady_now();
  return SteadyTime(std::chrono::nanoseconds(virtual_now->fetch_add(1000) + 1000));
}

extern "C" {

int __wrap_timerfd_settime(int fd, int flags, const itimerspec* when, itimerspec* before) {
  if (!virtual_now) return __real_timerfd_settime(fd, flags, when, before);
  timer = fd;
  if (flags & TFD_TIMER_ABSTIME) {  // Asio's way to say "at once"
    due = virtual_now->load();
    return __real_timerfd_settime(fd, flags, when, before);
  }
  due = virtual_now->load() + when->it_value.tv_sec * 1'000'000'000 + when->it_value.tv_nsec;
  const itimerspec never{};
  return __real_timerfd_settime(fd, 0, &never, before);
}

ssize_t __wrap_write(int fd, const void* data, size_t size) {
  struct stat facts {};
  if (announce && ::fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode)) {
    std::error_code error;
    const auto path = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), error);
    say("write " + name_of(path));
  }
  return __real_write(fd, data, size);
}

int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size) {
  if (level == SOL_SOCKET && name == SO_MARK)
    say(fmt::format("mark {:x}", *static_cast<const std::uint32_t*>(value)));
  if (level == IPPROTO_TCP && name == TCP_REPAIR)
    say(fmt::format("repair {}", *static_cast<const int*>(value)));
  return __real_setsockopt(fd, level, name, value, size);
}

int __wrap_connect(int fd, const sockaddr* address, socklen_t size) {
  say(address->sa_family == AF_UNSPEC ? "disconnect" : "connect");
  return __real_connect(fd, address, size);
}

int __wrap_shutdown(int fd, int how) {
  say(fmt::format("shutdown {}", how));
  return __real_shutdown(fd, how);
}

int __wrap_unlink(const char* path) {
  say("unlink " + name_of(path));
  return __real_unlink(path);
}
}
// NOLINTEND(bugprone-reserved-identifier)

void sockmi::daemon::fire_timer() {
  if (timer < 0 || due > virtual_now->load()) return;
  due = kNoTimer;
  const itimerspec at_once{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 1}};
  __real_timerfd_settime(timer, TFD_TIMER_ABSTIME, &at_once, nullptr);
}
