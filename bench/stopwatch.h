// Measures times by the monotonic clock, and computes their quantiles.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace sockmi::bench {

using Clock = std::chrono::steady_clock;

inline double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

template <class Function>
double time_of(Function&& function) {
  const auto began = Clock::now();
  function();
  return microseconds(Clock::now() - began);
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// A wrong figure is worse than none.
inline void must(bool done, const char* what) {
  if (done) return;
  std::perror(what);
  std::exit(1);
}

}  // namespace sockmi::bench
