// Checks stragglers: segments that arrived at the exporter's socket after its endpoint
// was committed, and that the exporter passes on. One is accepted only for an endpoint
// that has just come from that exporter, only with the sequence numbers of its image, and
// only for a short time.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>

#include "tcp/inject.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

class Stragglers {
 public:
  // Expects stragglers of an endpoint that `host` has just committed. `delta_bytes`: the
  // number of received bytes that came with COMMIT, behind the image. `cookie`: its
  // socket here.
  void expect(const std::string& host, const wire::TcpT& image, std::size_t delta_bytes,
              std::uint64_t cookie);
  struct Known {
    FourTuple tuple;
    std::uint64_t cookie;  // of the socket that came; it may have gone since
    tcp::Next next;        // how the kernel shall treat the peer's segments behind it
  };
  // Returns whose straggler this is. Errors: EACCES if `host` may not send it now.
  Result<Known> check(const std::string& host, const wire::StragglerT& straggler);

 private:
  using Clock = std::chrono::steady_clock;
  struct Expected {
    std::string host;
    std::uint32_t seq = 0, ack = 0;
    std::size_t most = 0;  // upper bound of what the peer could have sent
    Clock::time_point until;
    std::uint64_t cookie = 0;
    tcp::Next next;
  };
  void forget_old();
  std::map<FourTuple, Expected> expected_;  // keys are unmapped (IPv4, not IPv4-mapped)
  std::deque<std::pair<Clock::time_point, FourTuple>> order_;
};

}  // namespace sockmi::daemon
