#include "drain/drain.h"

#include <algorithm>

#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

const User kOperator{0, "root"};
// For an application to carry out an order.
constexpr milliseconds kOrderTimeout{60'000};
constexpr milliseconds kSurveyPause{1'000};
// Between two looks at the connections; the longer one if there is nothing to order.
constexpr milliseconds kShortPause{50}, kLongPause{200};
constexpr milliseconds kOrderPause{500};
// How often applications are asked for a connection that none of them has: it may just
// have been accepted.
constexpr unsigned kMostQuestions = 2;
// How often that is forgotten because applications came or went: they may do so forever.
constexpr unsigned kMostReopenings = 16;

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

Drain::Drain(Connections& connections, ExportRequests& requests, const ImportQueue& import_queue,
             Importer& importer, const std::filesystem::path& state_folder)
    : connections_(connections),
      services_(connections.services),
      requests_(requests),
      import_queue_(import_queue),
      importer_(importer),
      file_(state_folder),
      wake_(services_.io) {
  services_.history.on_add = [this](const Record& record) {
    on_record(record);
  };
  if (auto loaded = file_.load()) {
    state_ = std::move(*loaded);
  } else {
    state_.phase = DrainPhase::Stopped;
    warning_ = fmt::format("{}; this host imports nothing until 'sockmictl undrain'",
                           loaded.error().reason);
    log::error("drain_state_damaged", {{"error", loaded.error()}});
  }
  importer_.set_draining(is_cordoned());
}

void Drain::resume() {
  services_.discovery->set_draining(is_cordoned());
  if (state_.phase != DrainPhase::Running) return;
  log::info("drain_resumed", {{"moved", state_.total_moved()}});
  grace_until_ = Clock::now() + kReconnectTime;
  begin();
}

Result<> Drain::check(DrainOrder& order) const {
  for (const std::string& service : order.services) {
    if (!services_.policy.knows(service))
      return fail(ENOENT, "service '{}' is not configured here", service);
  }
  for (std::string& host : order.hosts) {
    TRY_LET(found, services_.discovery->find_host(host));
    host = found.host;
  }
  return {};
}

Result<bool> Drain::start(DrainOrder order) {
  if (state_.phase == DrainPhase::Running) return false;
  TRY(check(order));
  TRY(change({.phase = DrainPhase::Running,
              .order = std::move(order),
              .began = std::chrono::system_clock::now(),
              .ended = {},
              .moved = {},
              .failures = {}}));
  log::info("drain_started", {{"rate", state_.order.rate}});
  begin();
  return true;
}

Result<> Drain::stop() {
  if (state_.phase != DrainPhase::Running) return fail(ENOENT, "no drain is under way");
  DrainState stopped = state_;
  stopped.phase = DrainPhase::Stopped;
  TRY(file_.store(stopped));
  finish(DrainPhase::Stopped);
  return {};
}

Result<> Drain::undrain() {
  if (state_.phase == DrainPhase::Running) finish(DrainPhase::Stopped);
  TRY(change({}));
  log::info("drain_undone", {});
  tracked_.clear();
  by_tuple_.clear();
  return {};
}

// Writes the file first, so that a cordon that was confirmed survives this daemon.
Result<> Drain::change(DrainState next) {
  TRY(file_.store(next));
  state_ = std::move(next);
  warning_.clear();
  importer_.set_draining(is_cordoned());
  services_.discovery->set_draining(is_cordoned());
  return {};
}

// If counts cannot be written, the next daemon shows older ones, and continues the drain.
void Drain::save() {
  if (auto stored = file_.store(state_); !stored)
    log::error("drain_state_write_failed", {{"error", stored.error()}});
  unsaved_ = false;
}

void Drain::begin() {
  ++run_;
  tracked_.clear();
  by_tuple_.clear();
  due_.clear();
  spreads_ = std::make_shared<Spreads>();
  freezes_ = {};
  rate_ = {};
  next_order_ = {};
  spawn(services_.io, "drain", run(run_));
}

void Drain::finish(DrainPhase phase) {
  ++run_;
  state_.phase = phase;
  state_.ended = std::chrono::system_clock::now();
  save();
  const Progress now = progress();
  log::info("drain_finished", {{"result", to_string(phase)},
                               {"moved", state_.total_moved()},
                               {"left", now.open + now.stay}});
}

bool Drain::is_active(std::uint64_t run) const {
  return run == run_ && state_.phase == DrainPhase::Running && !services_.stopping;
}

bool Drain::is_late() const {
  return state_.order.deadline && std::chrono::system_clock::now() >= *state_.order.deadline;
}

asio::awaitable<void> Drain::run(std::uint64_t run) {
  const auto spreads = spreads_;
  co_await survey_hosts(services_, requests_, services_of(state_.order), state_.order.hosts,
                        *spreads);
  spawn(services_.io, "drain_survey", keep_informed(run));
  while (is_active(run)) {
    const bool any_open = look();
    if (!any_open && orders_ == 0 && Clock::now() >= grace_until_) {
      finish(progress().stay > 0 ? DrainPhase::Incomplete : DrainPhase::Done);
      co_return;
    }
    const auto pause = due_.empty() ? kLongPause : kShortPause;
    co_await order_due(run);
    if (is_active(run) && is_late()) {
      finish(DrainPhase::Deadline);
      co_return;
    }
    co_await sleep_for(pause);
  }
}

asio::awaitable<void> Drain::keep_informed(std::uint64_t run) {
  while (is_active(run)) {
    co_await sleep_for(kSurveyPause);
    if (run == run_ && unsaved_) save();
    if (!is_active(run)) co_return;
    const auto spreads = spreads_;
    co_await survey_hosts(services_, requests_, services_of(state_.order), state_.order.hosts,
                          *spreads);
  }
}

asio::awaitable<Spreads> Drain::survey(DrainOrder order) const {
  Spreads out;
  co_await survey_hosts(services_, requests_, services_of(order), std::move(order.hosts), out);
  co_return out;
}

// Takes note of new connections and of those that have gone, and collects what can be
// ordered now. Returns whether a connection is left that may still move.
bool Drain::look() {
  due_.clear();
  const auto found = local_connections(connections_, import_queue_);
  if (!found) {
    log::warn("drain_list_failed", {{"error", found.error()}});
    return true;
  }
  notice_applications();
  std::set<std::uint64_t> here;
  for (const LocalConnection& each : *found) {
    if (!each.service.empty() && !is_in_scope(each.service)) continue;
    here.insert(each.cookie);
    if (!tracked_.contains(each.cookie)) {
      tracked_[each.cookie].connection = each;
      by_tuple_[each.tuple] = each.cookie;
    }
  }
  std::erase_if(tracked_, [&](const auto& each) {
    const bool gone = !each.second.ordered && !here.contains(each.first);
    const auto known = by_tuple_.find(each.second.connection.tuple);
    // Another socket may have the same addresses and ports by now.
    if (gone && known != by_tuple_.end() && known->second == each.first) by_tuple_.erase(known);
    return gone;
  });
  bool any_open = !import_queue_.ready().empty();
  const auto now = Clock::now();
  for (const auto& [cookie, tracked] : tracked_) {
    if (tracked.fate != Fate::Open) continue;
    any_open = true;
    if (!tracked.ordered && tracked.next_try <= now) due_.push_back(cookie);
  }
  return any_open;
}

// An application that has just connected may hold what the others do not.
void Drain::notice_applications() {
  std::vector<std::pair<std::string, pid_t>> now;
  for (const ExportRequests::Application& each : requests_.applications())
    now.emplace_back(each.service, each.process);
  if (now == applications_) return;
  applications_ = std::move(now);
  for (auto& [cookie, tracked] : tracked_) {
    if (tracked.reopened == kMostReopenings) continue;
    ++tracked.reopened;
    tracked.asked.clear();
    if (tracked.fate != Fate::NotHeld) continue;
    tracked.fate = Fate::Open;
    tracked.tries = 0;
  }
}

asio::awaitable<void> Drain::order_due(std::uint64_t run) {
  while (is_active(run) && !due_.empty() && !is_late()) {
    const auto now = Clock::now();
    if (orders_ >= kMostOrders || now < next_order_) {
      wake_.expires_at(orders_ >= kMostOrders ? now + kLongPause
                                              : std::min(next_order_, now + kLongPause));
      boost::system::error_code ignored;
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      continue;
    }
    const std::uint64_t cookie = due_.front();
    due_.pop_front();
    place(run, cookie);
  }
}

// Orders the export of a connection, if there is a host for it.
void Drain::place(std::uint64_t run, std::uint64_t cookie) {
  const auto found = tracked_.find(cookie);
  if (found == tracked_.end()) return;  // it has left in the meantime
  Tracked& tracked = found->second;
  const auto services = services_for(tracked);
  const auto service = std::ranges::find_if(
      services, [&](const std::string& each) { return !tracked.asked.contains(each); });
  if (service == services.end()) return nobody_has(tracked);
  const auto now = Clock::now();
  Spread& spread = (*spreads_)[*service];
  const std::string host = spread.next(tracked.tried, now);
  if (host.empty() && !tracked.tried.empty()) return try_again(tracked);
  if (host.empty()) {
    tracked.reason = spread.refusals();
    tracked.next_try = now + kOrderPause;
    if (!tracked.without_host) tracked.without_host = now;
    const bool may_wait = state_.order.deadline || now - *tracked.without_host < kHostPatience;
    if (!may_wait) tracked.fate = Fate::Stays;
    return;
  }
  tracked.without_host.reset();
  tracked.error.reset();
  tracked.ordered = true;
  ++orders_;
  next_order_ = std::max(now, next_order_) + order_interval();
  spawn(services_.io, "drain_order",
        order(run, tracked.connection, *service, host,
              request_for(tracked.connection.tuple, spread.hosts().at(host).address)));
}

asio::awaitable<void> Drain::order(std::uint64_t run, LocalConnection connection,
                                   std::string service, std::string host, ExportRequest request) {
  const ExportOutcome outcome = co_await requests_.ask(service, request, kOperator, kOrderTimeout);
  --orders_;
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
  if (++tracked.tries >= kMostTries) tracked.fate = Fate::Stays;
}

void Drain::nobody_has(Tracked& tracked) {
  const bool is_known = !tracked.connection.service.empty();
  tracked.asked.clear();
  tracked.next_try = Clock::now() + kOrderPause;
  tracked.reason = is_known ? fmt::format("no application of service '{}' says that it holds it",
                                          tracked.connection.service)
                            : "no program holds it by sockmi";
  if (Clock::now() < grace_until_) return;
  if (++tracked.tries >= kMostQuestions) tracked.fate = is_known ? Fate::Stays : Fate::NotHeld;
}

// Returns the services whose applications may have the connection. A socket that was
// imported belongs to root at first.
std::vector<std::string> Drain::services_for(const Tracked& tracked) const {
  const LocalConnection& connection = tracked.connection;
  if (!connection.service.empty()) return {connection.service};
  std::set<std::string> out;
  for (const ExportRequests::Application& each : requests_.applications()) {
    if (is_in_scope(each.service) &&
        (each.user.uid == 0 || connection.uid == 0 || each.user.uid == connection.uid))
      out.insert(each.service);
  }
  return {out.begin(), out.end()};
}

std::set<std::string> Drain::services_of(const DrainOrder& order) const {
  if (!order.services.empty()) return {order.services.begin(), order.services.end()};
  std::set<std::string> out = requests_.services();
  for (const auto& [cookie, imported] : connections_.table.imported())
    out.insert(imported.service);
  return out;
}

bool Drain::is_in_scope(const std::string& service) const {
  const auto& services = state_.order.services;
  return services.empty() || std::ranges::find(services, service) != services.end();
}

Drain::Progress Drain::progress() const {
  Progress out{.per_second = rate_.per_second(Clock::now()), .freezes = freezes_};
  for (const auto& [cookie, tracked] : tracked_) {
    switch (tracked.fate) {
      case Fate::Open: ++out.open; break;
      case Fate::Stays: ++out.stay; break;
      case Fate::NotHeld: ++out.not_held; break;
    }
  }
  return out;
}

// An export of this host has ended. Counts it if the connection is one of the drain that
// is under way.
void Drain::on_record(const Record& record) {
  if (!record.exported) return;
  const auto found = by_tuple_.find(record.tuple.unmapped());
  if (found == by_tuple_.end()) return;
  const auto tracked = tracked_.find(found->second);
  if (state_.phase != DrainPhase::Running) {
    if (record.error_code != 0) return;
    if (tracked != tracked_.end()) tracked_.erase(tracked);
    by_tuple_.erase(found);
    return;
  }
  unsaved_ = true;  // until the next look at the hosts, or the end of the drain
  if (record.error_code == 0) {
    ++state_.moved[record.to];
    freezes_.add(record.freeze_us);
    rate_.add(Clock::now());
    if (tracked != tracked_.end()) {
      const auto spread = spreads_->find(record.service);
      if (spread != spreads_->end()) spread->second.succeeded(record.to);
      tracked_.erase(tracked);
    }
    by_tuple_.erase(found);
    return;
  }
  state_.count_failure(record.error);
  if (tracked != tracked_.end()) tracked->second.error = Error{record.error_code, record.error};
}

}  // namespace sockmi::daemon
