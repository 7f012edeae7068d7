#include "connections/records.h"

#include <chrono>

namespace sockmi::daemon {

std::uint64_t next_generation(std::uint64_t last) {
  if (last != 0) return last + 1;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

}  // namespace sockmi::daemon
