// Segments that met the exporter's socket when its endpoint was committed already: the exporter hands them on, for an endpoint that has just come from
// it, with the numbers that its image says, and not for long.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>

#include "wire/control_messages.h"
#include "tcp/inject.h"

namespace sockmi::daemon {

class Stragglers {
 public:
  // `host` has just committed the endpoint of this image, and with COMMIT came so many bytes behind it.
  void expect(const std::string& host, const wire::TcpT& image, std::size_t late);
  struct Known {
    FourTuple tuple;
    tcp::Next next;  // what the kernel is to make of the peer's segments behind it
  };
  // Whose it is, if `host` may speak of it now. EACCES: it may not.
  Result<Known> check(const std::string& host, const wire::StragglerT& straggler);

 private:
  using Clock = std::chrono::steady_clock;
  struct Expected {
    std::string host;
    std::uint32_t seq = 0, ack = 0;
    std::size_t most = 0;  // bytes that the peer could have sent
    Clock::time_point until;
    tcp::Next next;
  };
  void forget_old();
  std::map<FourTuple, Expected> expected_;  // unmapped
  std::deque<std::pair<Clock::time_point, FourTuple>> order_;
};

}  // namespace sockmi::daemon
