#include "connections/endings.h"

#include <algorithm>

namespace sockmi::daemon {

void RecentEnds::add(const FourTuple& tuple, std::uint64_t generation, Clock::time_point now) {
  if (generation == 0) return;
  auto& ending = all_[tuple];
  ending = {std::max(ending.generation, generation), now};
  in_order_.emplace_back(now, tuple);
  while (in_order_.front().first + kKept <= now || in_order_.size() > kMost) {
    const auto it = all_.find(in_order_.front().second);
    if (it != all_.end() && it->second.at == in_order_.front().first) all_.erase(it);
    in_order_.pop_front();
  }
}

bool RecentEnds::has(const FourTuple& tuple, std::uint64_t generation) const {
  const auto it = all_.find(tuple);
  return generation != 0 && it != all_.end() && generation <= it->second.generation;
}

}  // namespace sockmi::daemon
