// Segments that met the exporter's socket when its endpoint was committed already: the exporter hands them on, for an endpoint that has just come from
// it, with the numbers that its image says, and not for long.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>

#include "image/endpoint.h"

namespace sockmi::broker {

class Stragglers {
 public:
  // `host` has just committed the endpoint of this image, and with COMMIT came so many bytes behind it.
  void expect(const std::string& host, const image::TcpT& image, std::size_t late);
  // What `host` may say of one now. EACCES: it may not.
  Result<FourTuple> check(const std::string& host, const image::StragglerT& straggler);

 private:
  using Clock = std::chrono::steady_clock;
  struct Expected {
    std::string host;
    std::uint32_t seq = 0, ack = 0;
    std::size_t most = 0;  // bytes that the peer could have sent
    Clock::time_point until;
  };
  void forget_old();
  std::map<FourTuple, Expected> expected_;  // unmapped
  std::deque<std::pair<Clock::time_point, FourTuple>> order_;
};

}  // namespace sockmi::broker
