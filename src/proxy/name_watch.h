// Looks up the names of backends, again and again, so that a backend may get another
// address while the proxy runs.
//
// getaddrinfo(3) blocks, for as long as the resolver's time-outs say, and cannot be
// interrupted. So a thread of its own does it, one name after the other, and nobody waits
// for the end of that thread: it shares with this object only what it needs.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "proxy/plan.h"

namespace sockmi::proxy {

// Returns the addresses of a host, the best one first.
Result<std::vector<IpAddress>> look_up(const std::string& host);

class NameWatch {
 public:
  using LookUp = std::function<Result<std::vector<IpAddress>>(const std::string& host)>;

  explicit NameWatch(LookUp look_up);
  // Does not wait for a look-up that is under way.
  ~NameWatch() { stop(); }
  NameWatch(const NameWatch&) = delete;

  // Looks up the backends of this plan from now on, and no others. Starts the thread when
  // there is a name for the first time.
  void use(const Plan& plan);
  void stop();

 private:
  struct Shared;
  static void run(const std::shared_ptr<Shared>& shared, const LookUp& look_up);

  LookUp look_up_;
  std::shared_ptr<Shared> shared_;
  bool started_ = false;
};

}  // namespace sockmi::proxy
