// How many orders may be open at a time for the applications of one service.
//
// An application that gets several orders at a time can carry them out together, which is
// many times faster than one after the other. But what has been ordered cannot be taken
// back, when the drain is stopped or its deadline passes. So the number grows while
// answers come soon, and shrinks when they do not: an application that carries out one
// order after the other gets few at a time.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace sockmi::daemon {

class OrderWindow {
 public:
  static constexpr std::size_t kFewest = 16, kMost = 128;
  static constexpr std::chrono::milliseconds kSoon{200};

  bool has_room() const { return open_ < most_; }
  std::size_t open() const { return open_; }
  std::size_t most() const { return most_; }
  void opened() { ++open_; }
  // `after`: how long the answer took.
  void answered(std::chrono::steady_clock::duration after) {
    --open_;
    most_ = after < kSoon ? std::min(most_ + 1, kMost) : std::max(most_ - 1, kFewest);
  }

 private:
  std::size_t open_ = 0, most_ = kFewest;
};

}  // namespace sockmi::daemon
