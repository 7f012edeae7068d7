// The orders of a drain: which connection an application is asked to export next, and
// where to, and what follows from its answer.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/spawn.h"
#include "drain/drain.h"

namespace sockmi::daemon {
namespace {

const User kOperator{0, "root"};
// For an application to carry out an order.
constexpr milliseconds kOrderTimeout{60'000};
constexpr milliseconds kLongestWait{200};
constexpr milliseconds kOrderPause{500};
// Until a connection that was tried in vain is tried again, with OnStuck::Wait.
constexpr milliseconds kStuckPause{5'000};
// How often applications are asked for a connection that none of them has: it may just
// have been accepted.
constexpr unsigned kMostQuestions = 2;

// True if an export with this error may succeed at another host.
bool concerns_host(int error) {
  switch (error) {
    case EHOSTUNREACH:
    case ECONNREFUSED:
    case ECONNRESET:
    case ETIMEDOUT:
    case ECANCELED:
    case ENOBUFS:
    case ENOSPC:
    case ESRCH: return true;
    default: return false;
  }
}

ExportRequest request_for(const FourTuple& tuple, const IpAddress& to) {
  const auto exactly = [](const SocketAddress& address) {
    return Match{address.ip, static_cast<unsigned>(address.ip.size() * 8), address.port};
  };
  return {.request = 0, .local = exactly(tuple.local), .remote = exactly(tuple.remote), .to = to};
}

}  // namespace

// Queues a connection for the next service that may have it. A service that no host takes
// does not keep it from the others.
void Drain::queue(std::uint64_t cookie, Tracked& tracked) {
  auto services = services_for(tracked);
  std::erase_if(services, [&](const std::string& each) { return tracked.asked.contains(each); });
  if (services.empty()) return nobody_has(tracked);
  const auto now = Clock::now();
  const auto has_host = [&](const std::string& each) {
    const auto spread = spreads_->find(each);
    return spread != spreads_->end() && spread->second.has(tracked.tried, now);
  };
  const auto ready = std::ranges::find_if(services, has_host);
  due_[ready == services.end() ? services.front() : *ready].push_back(cookie);
}

asio::awaitable<void> Drain::order_due(std::uint64_t run) {
  while (is_active(run) && !due_.empty() && !is_late()) {
    const auto now = Clock::now();
    const auto service = now < next_order_ ? std::nullopt : next_service();
    if (!service) {
      wake_.expires_at(now < next_order_ ? std::min(next_order_, now + kLongestWait)
                                         : now + kLongestWait);
      boost::system::error_code ignored;
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      continue;
    }
    const auto due = due_.find(*service);
    const std::uint64_t cookie = due->second.front();
    due->second.pop_front();
    if (due->second.empty()) due_.erase(due);
    place(run, cookie, *service);
  }
}

// Returns the service whose turn it is among those that may get an order.
std::optional<std::string> Drain::next_service() {
  auto each = due_.upper_bound(last_service_);
  for (std::size_t i = 0; i < due_.size(); ++i, ++each) {
    if (each == due_.end()) each = due_.begin();
    if (windows_[each->first].has_room()) return last_service_ = each->first;
  }
  return std::nullopt;
}

// Orders the export of a connection, if there is a host for it.
void Drain::place(std::uint64_t run, std::uint64_t cookie, const std::string& service) {
  const auto found = tracked_.find(cookie);
  if (found == tracked_.end()) return;  // it has left in the meantime
  Tracked& tracked = found->second;
  const auto now = Clock::now();
  Spread& spread = (*spreads_)[service];
  const std::string host = spread.next(tracked.tried, now);
  if (host.empty() && !tracked.tried.empty()) return try_again(tracked);
  if (host.empty()) {
    tracked.reason = spread.refusals();
    tracked.next_try = now + kOrderPause;
    if (!tracked.without_host) tracked.without_host = now;
    const bool may_wait = state_.order.deadline || now - *tracked.without_host < kHostPatience;
    if (!may_wait) stays(tracked);
    return;
  }
  tracked.without_host.reset();
  tracked.error.reset();
  tracked.ordered = true;
  windows_[service].opened();
  ++orders_;
  next_order_ = std::max(now, next_order_) + order_interval();
  spawn(services_.io, "drain_order",
        order(run, tracked.connection, service, host,
              request_for(tracked.connection.tuple, spread.hosts().at(host).address)));
}

asio::awaitable<void> Drain::order(std::uint64_t run, LocalConnection connection,
                                   std::string service, std::string host, ExportRequest request) {
  const ExportRequests::TrustIn trust = [&connection](const User& user) {
    return trust_in(user, connection);
  };
  const auto began = Clock::now();
  const ExportOutcome outcome =
      co_await requests_.ask(service, request, kOperator, kOrderTimeout, trust);
  --orders_;
  windows_[service].answered(Clock::now() - began);
  wake_.cancel();
  const auto found = tracked_.find(connection.cookie);
  if (run != run_ || found == tracked_.end()) co_return;
  found->second.ordered = false;
  judge(found->second, service, host, outcome);
}

// Draws the conclusion from an order after which the connection is still here.
void Drain::judge(Tracked& tracked, const std::string& service, const std::string& host,
                  const ExportOutcome& outcome) {
  if (outcome.exported > 0 && !tracked.error) {
    tracked.reason = "its application says that it exported it, and it is still here";
    return try_again(tracked);  // its socket may be about to end
  }
  if (outcome.failed > 0 || tracked.error) {
    tracked.connection.service = service;
    tracked.tried.insert(host);
    if (!tracked.error) {
      tracked.reason = "its application cannot export it";
      state_.count_failure(tracked.reason);
      return;
    }
    tracked.reason = tracked.error->reason;
    if (concerns_host(tracked.error->code))
      (*spreads_)[service].failed(host, tracked.reason, Clock::now());
    return;
  }
  if (!outcome.unanswered.empty()) {
    tracked.reason =
        fmt::format("an application of user {} does not answer", outcome.unanswered.front());
    return try_again(tracked);
  }
  if (!outcome.in_doubt.empty())
    tracked.doubt = fmt::format("an application of user {} may hold it", outcome.in_doubt.front());
  tracked.asked.insert(service);
  next_order_ -= order_interval();  // no connection has moved for this order
}

// Between two orders.
Clock::duration Drain::order_interval() const {
  const unsigned rate = state_.order.rate;
  return rate == 0 ? Clock::duration() : Clock::duration(std::chrono::seconds(1)) / rate;
}

void Drain::try_again(Tracked& tracked) {
  tracked.tried.clear();
  tracked.next_try = Clock::now() + kOrderPause * (1 << tracked.tries);
  if (++tracked.tries >= kMostTries) stays(tracked);
}

// A connection has been tried in vain.
void Drain::stays(Tracked& tracked) {
  if (state_.order.on_stuck != OnStuck::Wait) {
    tracked.fate = Fate::Stays;
    return;
  }
  tracked.tries = 0;
  tracked.next_try = Clock::now() + kStuckPause;
}

void Drain::nobody_has(Tracked& tracked) {
  const bool is_known = !tracked.connection.service.empty();
  const std::string doubt = std::exchange(tracked.doubt, {});
  tracked.asked.clear();
  tracked.next_try = Clock::now() + kOrderPause;
  tracked.reason = is_known ? fmt::format("no application of service '{}' says that it holds it",
                                          tracked.connection.service)
                            : "no program holds it by sockmi";
  if (!doubt.empty()) tracked.reason = doubt;
  if (Clock::now() < grace_until_) return;
  if (++tracked.tries < (doubt.empty() ? kMostQuestions : kMostTries)) return;
  if (is_known || !doubt.empty()) return stays(tracked);
  tracked.fate = Fate::NotHeld;
}

// The socket of an imported connection belongs to root, also when another user's
// application has taken it: each application of its service may hold it. Any other socket
// belongs to the user that made it. A program of root may have given one to another
// user, who then can export it. Whether that user has it is not known here: /proc shows
// the sockets of another user's process only to those who may trace it.
ExportRequests::Trust Drain::trust_in(const User& user, const LocalConnection& connection) {
  using enum ExportRequests::Trust;
  if (connection.imported || user.uid == 0 || user.uid == connection.uid) return Counted;
  return connection.uid == 0 ? Doubted : NotAsked;
}

// Returns the services whose applications may have the connection. Those whose word
// counts come first: others that are silent do not hold up what these hold.
std::vector<std::string> Drain::services_for(const Tracked& tracked) const {
  const LocalConnection& connection = tracked.connection;
  if (!connection.service.empty()) return {connection.service};
  std::set<std::string> counted, doubted;
  for (const ExportRequests::Application& each : requests_.applications()) {
    if (!is_in_scope(each.service)) continue;
    const auto trust = trust_in(each.user, connection);
    if (trust == ExportRequests::Trust::Counted) counted.insert(each.service);
    if (trust == ExportRequests::Trust::Doubted) doubted.insert(each.service);
  }
  std::vector<std::string> out(counted.begin(), counted.end());
  std::ranges::set_difference(doubted, counted, std::back_inserter(out));
  return out;
}

}  // namespace sockmi::daemon
