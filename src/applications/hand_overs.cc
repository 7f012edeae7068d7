#include "applications/hand_overs.h"

#include <algorithm>

namespace sockmi::daemon {
namespace {

// A process that asks in a loop leaves gaps between its calls.
constexpr std::chrono::milliseconds kOfferGap{1000};
// How often an endpoint may come back from processes that could not use it.
constexpr unsigned kMostRefusals = 16;

}  // namespace

// Reserves what the endpoints need. What was reserved before an error is in `one`.
Result<> HandOvers::enter(Offered& one, const std::vector<ReadyEndpoint>& endpoints) {
  for (const ReadyEndpoint& ready : endpoints) {
    if (!sockets_.insert(ready.cookie).second)
      return fail(EBUSY, "socket is being handed over already");
    one.sockets.push_back(ready.cookie);
    TRY(queue_.reserve(ready.id, ready.endpoint.state));
    one.ids.push_back(ready.id);
  }
  return {};
}

// A process that has got an endpoint and has not said whether it can use it may still
// take it, until the exporting process takes the token. Then Deliveries drops it.
void HandOvers::leave(const std::vector<Offered>& all) {
  (void)queue_.take_if(
      [](const ReadyEndpoint& ready) { return ready.hand_over && ready.hand_over->is_over(); });
  for (const Offered& one : all) {
    for (const auto& id : one.ids)
      queue_.release(id);
    for (const std::uint64_t cookie : one.sockets)
      sockets_.erase(cookie);
    all_.erase(one.what);
  }
}

asio::awaitable<std::vector<Result<>>> HandOvers::offer(std::vector<Group> groups,
                                                        Clock::time_point until) {
  const auto request = std::make_shared<HandOverRequest>(executor_);
  std::vector<Offered> all;
  for (Group& group : groups) {
    Offered& one = all.emplace_back();
    one.what = std::make_shared<HandOver>(request, std::move(group.token));
    all_.insert(one.what);
    if (group.result) group.result = enter(one, group.endpoints);
    if (!group.result) one.what->settle(std::move(group.result));
  }
  // Adding an endpoint may notify a process at once, so all are known before the first.
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].what->is_over()) continue;
    for (ReadyEndpoint& ready : groups[i].endpoints)
      ready.hand_over = all[i].what;
    queue_.add(std::move(groups[i].endpoints));
  }
  if (request->open > 0) co_await request->over.wait(until);
  std::vector<Result<>> results;
  for (const Offered& one : all) {
    one.what->settle(fail(ETIMEDOUT, "no process has taken it in time"));
    results.push_back(one.what->result());
    if (results.back()) count_ += one.ids.size();
  }
  leave(all);
  co_return results;
}

void HandOvers::give_back_unwanted() {
  const auto now = Clock::now();
  const auto is_unwanted = [&](const ReadyEndpoint& ready) {
    if (!ready.hand_over) return false;
    return queue_.is_wanted(ready) ? ready.came_back >= kMostRefusals
                                   : now - ready.last_wanted > kOfferGap;
  };
  for (const ReadyEndpoint& ready : queue_.take_if(is_unwanted))
    ready.hand_over->settle(fail(ESRCH, "no other process here can import it"));
}

void HandOvers::stop() {
  for (const auto& each : all_)
    each->settle(fail(EHOSTDOWN, "sockmid is stopping"));
}

}  // namespace sockmi::daemon
