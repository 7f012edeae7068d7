// Limits how often something may happen: a token bucket per source, with a bound on the
// number of buckets.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <utility>

#include "base/address.h"

namespace sockmi::cluster {

class RateBySource {
 public:
  using Clock = std::chrono::steady_clock;
  RateBySource(double per_second, double at_once, std::size_t most_sources = 1024)
      : per_second_(per_second),
        at_once_(at_once),
        most_(most_sources) {}

  // Returns whether it may happen once more. Sources beyond the bound share one bucket.
  bool take(const IpAddress& source, Clock::time_point now = Clock::now()) {
    if (!buckets_.contains(source) && buckets_.size() >= most_) forget_full(now);
    Bucket& bucket = buckets_.contains(source) || buckets_.size() < most_
                         ? buckets_.try_emplace(source, Bucket{at_once_, now}).first->second
                         : others_;
    bucket.left = level(bucket, now);
    bucket.at = now;
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  }

 private:
  struct Bucket {
    double left = 0;
    Clock::time_point at;
  };
  double level(const Bucket& bucket, Clock::time_point now) const {
    return std::min(
        at_once_,
        bucket.left + per_second_ * std::chrono::duration<double>(now - bucket.at).count());
  }
  void forget_full(Clock::time_point now) {
    if (now < next_forgetting_) return;  // it walks over all buckets
    next_forgetting_ = now + std::chrono::seconds(1);
    std::erase_if(buckets_, [&](const auto& each) { return level(each.second, now) >= at_once_; });
  }
  const double per_second_, at_once_;
  const std::size_t most_;
  std::map<IpAddress, Bucket> buckets_;
  Bucket others_;
  Clock::time_point next_forgetting_;
};

// Allows one log entry per second, and counts the entries that were left out.
class RareLog {
 public:
  // Returns how many entries were left out since the last one, or -1 if nothing is to be
  // logged now.
  long take(std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now()) {
    if (now < next_) {
      ++left_out_;
      return -1;
    }
    next_ = now + std::chrono::seconds(1);
    return std::exchange(left_out_, 0);
  }

 private:
  std::chrono::steady_clock::time_point next_;
  long left_out_ = 0;
};

}  // namespace sockmi::cluster
