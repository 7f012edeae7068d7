#include "connections/unheard_peers.h"

#include <algorithm>

#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"
#include "net/peer_liveness.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kFirstCheck{40}, kMaxProbePause{1000};
constexpr milliseconds kFirstQuestion{500}, kMaxQuestionPause{60000};  // between our questions
constexpr milliseconds kReportUnheardAfter{3000};  // after this the log reports it
constexpr std::size_t kMaxChecksAtOnce = 256;      // checking one takes some microseconds

// True if `now` is greater. It may be smaller, too: what we have injected is counted in
// `before` immediately, and the socket may receive it a little later.
bool has_more(std::uint32_t now, std::uint32_t before) {
  return static_cast<std::int32_t>(now - before) > 0;
}

}  // namespace

void UnheardPeers::expect(std::uint64_t cookie, const FourTuple& tuple, const tcp::Heard& before,
                          const std::optional<tcp::Segment>& question) {
  const auto now = Clock::now();
  Backoff pauses(kFirstQuestion, kMaxQuestionPause);
  const auto ask_at = now + pauses.next();
  unheard_.insert_or_assign(cookie, Unheard{tuple, before, question, now, ask_at, pauses});
  if (std::exchange(listening_, true)) return;
  spawn(io_, "listen_for_peers", listen());
}

void UnheardPeers::injected(const FourTuple& tuple) {
  for (auto& [cookie, each] : unheard_)
    if (each.tuple.unmapped() == tuple.unmapped()) ++each.before.answers;
}

bool UnheardPeers::is_overdue(const FourTuple& tuple) const {
  return std::ranges::any_of(unheard_, [&](const auto& each) {
    return each.second.warned && each.second.tuple.unmapped() == tuple.unmapped();
  });
}

// True if the peer has answered, or if the connection has ended and needs no answer. An
// answer acknowledges new bytes, or is a segment without data while everything that we
// have sent is acknowledged. Data are not an answer: a peer that does not receive what we
// send repeats its data again and again. (A peer may also send a sign of life unasked,
// but that is rare.)
bool UnheardPeers::has_answered(std::uint64_t cookie, Unheard& each) {
  const auto counted = net::liveness_of(each.tuple, cookie);
  if (!counted) return counted.error().code == ENOENT;
  if (counted->acknowledged > each.before.acknowledged ||
      (has_more(counted->answers, each.before.answers) && counted->unacknowledged == 0)) {
    if (each.warned) log::info("peer_heard", {{"connection", each.tuple}});
    return true;
  }
  const auto now = Clock::now();
  if (each.question && now >= each.ask_at) {
    (void)tcp::send_to_peer(*each.question);  // a send error counts as packet loss
    each.ask_at = now + each.pauses.next();
  }
  if (!each.warned && now > each.since + kReportUnheardAfter) {
    each.warned = true;
    log::warn("peer_unheard", {{"connection", each.tuple}});
  }
  return false;
}

asio::awaitable<void> UnheardPeers::listen() {
  for (Backoff pauses(kFirstCheck, kMaxProbePause); !unheard_.empty();) {
    co_await sleep_for(pauses.next());
    std::size_t looks = std::min(kMaxChecksAtOnce, unheard_.size());
    for (auto it = unheard_.upper_bound(last_); looks > 0; --looks) {
      if (it == unheard_.end()) it = unheard_.begin();
      if (it == unheard_.end()) break;
      last_ = it->first;
      it = has_answered(it->first, it->second) ? unheard_.erase(it) : std::next(it);
    }
    const auto newest =
        std::ranges::max_element(unheard_, {}, [](const auto& each) { return each.second.since; });
    if (newest != unheard_.end() && Clock::now() < newest->second.since + kMaxProbePause)
      pauses.reset();
  }
  listening_ = false;
}

}  // namespace sockmi::daemon
