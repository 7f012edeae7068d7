// Measures a drain: how long the freezes were, and how many connections move per second.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

namespace sockmi::daemon {

// Counts durations in classes, each about 6 % wide, so that any number of them takes the
// same memory.
class FreezeTimes {
 public:
  void add(std::int64_t microseconds) {
    if (microseconds < 0) return;  // not known
    ++classes_[class_of(static_cast<std::uint64_t>(microseconds))];
    ++count_;
  }
  std::uint64_t count() const { return count_; }
  // Returns the upper end of the class in which this part of the durations ends: 0.5 for
  // the median. 0 if there are none.
  std::uint64_t percentile(double part) const {
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      seen += classes_[i];
      if (seen > 0 && static_cast<double>(seen) >= part * static_cast<double>(count_))
        return upper_end(i);
    }
    return 0;
  }

 private:
  // Values below kLinear have a class each; each power of two above is cut into as many.
  static constexpr unsigned kBits = 4, kLinear = 1 << kBits;
  static constexpr std::size_t class_of(std::uint64_t value) {
    if (value < kLinear) return value;
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kBits - 1;
    return (shift + 1) * kLinear + ((value >> shift) - kLinear);
  }
  static constexpr std::uint64_t upper_end(std::size_t number) {
    if (number < kLinear) return number;
    const std::size_t shift = number / kLinear - 1;
    return ((number % kLinear + kLinear + 1) << shift) - 1;
  }

  std::array<std::uint32_t, std::size_t{64 - kBits + 1} * kLinear> classes_{};
  std::uint64_t count_ = 0;
};

// The number of events per second, over the last seconds.
class RecentRate {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kWindow{5};

  void add(Clock::time_point now) {
    if (!began_) began_ = now;
    if (slots_.empty() || now - slots_.back().first >= kSlot) slots_.emplace_back(now, 0);
    ++slots_.back().second;
    while (now - slots_.front().first > kWindow)
      slots_.pop_front();
  }
  double per_second(Clock::time_point now) const {
    if (!began_) return 0;
    std::uint64_t events = 0;
    for (const auto& [time, count] : slots_)
      if (now - time <= kWindow) events += count;
    const Clock::duration span = std::clamp<Clock::duration>(now - *began_, kSlot, kWindow);
    return static_cast<double>(events) / std::chrono::duration<double>(span).count();
  }

 private:
  static constexpr std::chrono::milliseconds kSlot{100};
  std::optional<Clock::time_point> began_;
  std::deque<std::pair<Clock::time_point, std::uint64_t>> slots_;
};

}  // namespace sockmi::daemon
