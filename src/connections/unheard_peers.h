// Connections that moved here and whose peers have not been heard from yet. A thawed socket sends a probe, which any peer answers: on a path that works
// that takes one round trip. Until then nobody can say that the move was a success. A probe or its answer may be lost, and not every state sends
// one: so we ask too, again and again.
#pragma once

#include <map>
#include <optional>

#include "context/world.h"
#include "tcp/inject.h"
#include "tcp/restore.h"

namespace sockmi::daemon {

class UnheardPeers {
 public:
  explicit UnheardPeers(asio::io_context& io) : io_(io) {}
  UnheardPeers(const UnheardPeers&) = delete;
  // `before`: what its counters said when it thawed. `question`: none if it asks by itself (SYN_SENT).
  void expect(std::uint64_t cookie, const FourTuple& tuple, const tcp::Heard& before, const std::optional<tcp::Segment>& question);
  // We have put a segment without data into it ourselves: that is no answer.
  void injected(const FourTuple& tuple);
  bool waits_for(std::uint64_t cookie) const { return unheard_.contains(cookie); }
  // For so long that it is worth a word: the log has it.
  bool is_silent(const FourTuple& tuple) const;
  std::size_t size() const { return unheard_.size(); }

 private:
  struct Unheard {
    FourTuple tuple;
    tcp::Heard before;
    std::optional<tcp::Segment> question;
    Clock::time_point since, ask_at;
    milliseconds pause{};
    bool warned = false;
  };
  asio::awaitable<void> listen();
  bool has_answered(std::uint64_t cookie, Unheard& each);

  asio::io_context& io_;
  std::map<std::uint64_t, Unheard> unheard_;  // by socket cookie
  std::uint64_t last_ = 0;                    // where the last round ended
  bool listening_ = false;
};

}  // namespace sockmi::daemon
