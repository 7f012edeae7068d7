// Chooses the host that gets the next connection, among those that accept a service.
//
// The hosts take turns by weight (smooth weighted round robin): the weight of a host is
// the number of its free slots, divided by its load. A host at which a move fails is left
// out for a while, each time for longer, and its share goes to the others.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cluster/discovery.h"

namespace sockmi::daemon {

class Spread {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kFirstAbsence{1000}, kLongestAbsence{30'000};

  struct Host {
    IpAddress address;
    std::uint32_t free = 0;  // slots, less those that were given away since the answer
    double weight = 0;
    double turn = 0;        // the host with the largest one is next
    std::string refusal;    // why it does not accept; empty: it does
    unsigned failures = 0;  // in a row
    std::string failure;    // the reason of the last one
    Clock::time_point absent_until{};
  };

  // Takes what the hosts have answered. A host without an answer is not chosen any more.
  // `only`: the names of the hosts that may be chosen; empty: all.
  void update(const std::vector<cluster::HostAnswer>& answers,
              const std::vector<std::string>& only);
  // Returns the name of the next host; "" if there is none. `except`: hosts that must not
  // be chosen.
  std::string next(const std::set<std::string>& except, Clock::time_point now);
  // True if next() would return a host.
  bool has(const std::set<std::string>& except, Clock::time_point now) const;
  void failed(const std::string& host, const std::string& reason, Clock::time_point now);
  void succeeded(const std::string& host);
  // Returns why no host is chosen, in one line.
  std::string refusals() const;
  // Returns which part of many connections each host would get, by name. The sum is 1, or
  // there is no host.
  std::map<std::string, double> shares(Clock::time_point now) const;
  const std::map<std::string, Host>& hosts() const { return hosts_; }

 private:
  std::map<std::string, Host> hosts_;
};

}  // namespace sockmi::daemon
