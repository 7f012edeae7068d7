// Closes an address to new connections while its existing connections move to another
// host. SYNs are dropped, and the clients try again after a second. The filter is in a
// table of our own, and the kernel itself opens the address after a while if this process
// dies.
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

Result<> remove_syn_filters();  // removes what a dead daemon left

}  // namespace sockmi::steer
