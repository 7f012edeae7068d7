// Hosts that did not answer. They are asked again after pauses that become longer.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "base/backoff.h"

namespace sockmi::daemon {

class UnreachableHosts {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kMaxPause{5000};

  // False if the host was asked a moment ago. After true, other callers get false for
  // `attempt`, or until the caller reports its outcome by add() or erase().
  bool may_ask(const std::string& host, Clock::duration attempt) {
    const auto it = all_.find(host);
    if (it == all_.end()) return true;
    if (Clock::now() < it->second.until) return false;
    it->second.until = Clock::now() + attempt;
    return true;
  }
  // The host has not answered. Returns true if this is new.
  bool add(const std::string& host) {
    const auto [it, first] = all_.try_emplace(host);
    it->second.until = Clock::now() + it->second.pauses.next();
    return first;
  }
  // It has answered, or is to be asked now. Returns false if it was not unreachable.
  bool erase(const std::string& host) { return all_.erase(host) > 0; }
  bool contains(const std::string& host) const { return all_.contains(host); }
  template <class Each>
  void for_each(Each each) const {
    for (const auto& [host, unreachable] : all_)
      each(host);
  }

 private:
  struct Unreachable {
    Clock::time_point until;
    Backoff pauses{std::chrono::milliseconds(40), kMaxPause};
  };
  std::map<std::string, Unreachable> all_;
};

}  // namespace sockmi::daemon
