// Remembers connections that have ended a short while ago, so that a message about one of
// them that arrives late is recognized as outdated.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <utility>

#include "base/address.h"

namespace sockmi::daemon {

class RecentEnds {
 public:
  using Clock = std::chrono::steady_clock;
  // Adds the end of this generation and of all earlier ones.
  void add(const FourTuple& tuple, std::uint64_t generation, Clock::time_point now = Clock::now());
  bool has(const FourTuple& tuple, std::uint64_t generation) const;

  static constexpr std::chrono::seconds kKept{60};  // longer than any message is in transit
  static constexpr std::size_t kMost = 65536;

 private:
  struct Ending {
    std::uint64_t generation;
    Clock::time_point at;
  };
  std::map<FourTuple, Ending> all_;
  std::deque<std::pair<Clock::time_point, FourTuple>> in_order_;
};

}  // namespace sockmi::daemon
