#include "connections/records.h"

#include <chrono>

#include <sockmi/sockmi.h>

namespace sockmi::daemon {

std::uint64_t next_generation(std::uint64_t last) {
  if (last != 0) return last + 1;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

bool is_passive(std::uint8_t state) {
  return state == SOCKMI_BOUND || state == SOCKMI_LISTENING;
}
bool is_passive(const FourTuple& tuple) {
  return tuple.remote.port == 0;
}

}  // namespace sockmi::daemon
