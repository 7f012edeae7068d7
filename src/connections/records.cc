#include "connections/records.h"

#include <algorithm>
#include <chrono>

#include <sockmi/sockmi.h>

namespace sockmi::daemon {

std::uint64_t next_generation(std::uint64_t last, bool leaves_home) {
  if (last != 0 && !leaves_home) return last + 1;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto time = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  return std::max(static_cast<std::uint64_t>(time), last + 1);
}

bool is_passive(std::uint8_t state) {
  return state == SOCKMI_BOUND || state == SOCKMI_LISTENING;
}
bool is_passive(const FourTuple& tuple) {
  return tuple.remote.port == 0;
}

}  // namespace sockmi::daemon
