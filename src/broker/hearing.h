// Connections that moved here and whose peers have not been heard from yet. A thawed socket sends a probe, which any peer answers: on a path that works
// that takes one round trip. Until then nobody can say that the move was a success.
#pragma once

#include <map>

#include "broker/world.h"

namespace sockmi::broker {

class Hearing {
 public:
  explicit Hearing(asio::io_context& io) : io_(io) {}
  Hearing(const Hearing&) = delete;
  // `segments`: so many had found the socket when it thawed, our own among them.
  void expect(std::uint64_t cookie, const FourTuple& tuple, std::uint32_t segments);
  bool waits_for(std::uint64_t cookie) const { return unheard_.contains(cookie); }
  std::size_t size() const { return unheard_.size(); }

 private:
  struct Unheard {
    FourTuple tuple;
    std::uint32_t segments;
    Clock::time_point since;
    bool warned = false;
  };
  asio::awaitable<void> listen();
  bool has_answered(std::uint64_t cookie, Unheard& each);

  asio::io_context& io_;
  std::map<std::uint64_t, Unheard> unheard_;  // by socket cookie
  std::uint64_t last_ = 0;                    // where the last round ended
  bool listening_ = false;
};

}  // namespace sockmi::broker
