// Pauses between attempts: each twice as long as the one before, up to the longest.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace sockmi {

class Backoff {
 public:
  using milliseconds = std::chrono::milliseconds;

  constexpr Backoff(milliseconds first, milliseconds longest)
      : first_(first),
        longest_(longest),
        next_(first) {}
  // Returns the pause before the next attempt.
  constexpr milliseconds next() { return std::exchange(next_, std::min(2 * next_, longest_)); }
  // Returns true if the next pause is the longest: the end, for those who then give up.
  constexpr bool is_longest() const { return next_ >= longest_; }
  // Begins again with the first pause.
  constexpr void reset() { next_ = first_; }

 private:
  milliseconds first_, longest_, next_;
};

}  // namespace sockmi
