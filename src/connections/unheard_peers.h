// Watches connections that moved here until their peers answer.
//
// A thawed socket sends a probe, which every peer answers: on a path that works, this
// takes one round trip. Until then it is unknown whether the move was a success. The
// probe or its answer may be lost, and not every state sends one. So this class asks too,
// repeatedly.
#pragma once

#include <map>
#include <optional>

#include "base/backoff.h"
#include "context/services.h"
#include "tcp/inject.h"
#include "tcp/restore.h"

namespace sockmi::daemon {

class UnheardPeers {
 public:
  explicit UnheardPeers(asio::io_context& io) : io_(io) {}
  UnheardPeers(const UnheardPeers&) = delete;
  // Starts to wait for an answer. `before`: the socket's counters when it thawed.
  // `question`: the segment to ask with; none if the socket itself asks (SYN_SENT).
  void expect(std::uint64_t cookie, const FourTuple& tuple, const tcp::Heard& before,
              const std::optional<tcp::Segment>& question);
  // We have injected a segment without data into the socket, which does not count as an
  // answer.
  void injected(const FourTuple& tuple);
  bool waits_for(std::uint64_t cookie) const { return unheard_.contains(cookie); }
  // True if the peer has not answered for so long that the log reports it.
  bool is_overdue(const FourTuple& tuple) const;
  std::size_t size() const { return unheard_.size(); }

 private:
  struct Unheard {
    FourTuple tuple;
    tcp::Heard before;
    std::optional<tcp::Segment> question;
    Clock::time_point since, ask_at;
    Backoff pauses;
    bool warned = false;
  };
  asio::awaitable<void> listen();
  bool has_answered(std::uint64_t cookie, Unheard& each);

  asio::io_context& io_;
  std::map<std::uint64_t, Unheard> unheard_;  // by socket cookie
  std::uint64_t last_ = 0;                    // the cookie at which the last round ended
  bool listening_ = false;
};

}  // namespace sockmi::daemon
