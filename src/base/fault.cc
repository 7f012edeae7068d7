#include "base/fault.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>

namespace sockmi::fault {
namespace {
std::atomic<unsigned> armed_total{0};
std::mutex mutex;
std::map<std::string, unsigned, std::less<>> armed;
}  // namespace

void arm(std::string_view name, unsigned count) {
  std::lock_guard lock(mutex);
  armed[std::string(name)] += count;
  armed_total += count;
}

Result<> point(std::string_view name) {
  if (armed_total.load(std::memory_order_relaxed) == 0) return {};
  std::lock_guard lock(mutex);
  if (armed.contains(std::string(name) + "=kill")) ::raise(SIGKILL);
  if (const auto stop = armed.find(std::string(name) + "=stop"); stop != armed.end()) {
    armed_total -= stop->second;
    armed.erase(stop);
    ::kill(::getpid(), SIGSTOP);
  }
  const auto it = armed.find(name);
  if (it == armed.end() || it->second == 0) return {};
  --it->second;
  --armed_total;
  return fail(EIO, "fault point {}", name);
}

}  // namespace sockmi::fault
