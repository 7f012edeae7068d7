// Closes an address to new connections while those that are there go to another host: their SYNs are dropped, and their clients try again in a second.
// In a table of our own, which the kernel opens by itself after a while, should we die.
#pragma once

#include <chrono>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

class SynFilter {
 public:
  static Result<SynFilter> close(const IpAddress& address, std::chrono::seconds at_most);
  SynFilter(SynFilter&& other) noexcept : closed_(std::exchange(other.closed_, false)) {}
  SynFilter& operator=(SynFilter&&) = delete;
  ~SynFilter();

 private:
  SynFilter() = default;
  bool closed_ = true;
};

Result<> open_all_doors();  // what a dead daemon left

}  // namespace sockmi::steer
