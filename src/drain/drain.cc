#include "drain/drain.h"

#include <algorithm>

#include "base/boot_id.h"
#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kSurveyPause{1'000};
// Between two looks at the connections; the longer one if there is nothing to order.
constexpr milliseconds kShortPause{50}, kLongPause{200};
// How often that is forgotten because applications came or went: they may do so forever.
constexpr unsigned kMostReopenings = 16;

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
  load();
  importer_.set_draining(is_cordoned());
}

// A drain that was ordered for a reboot ends by it, and so does its cordon.
void Drain::load() {
  auto loaded = file_.load();
  if (!loaded) {
    state_.phase = DrainPhase::Stopped;
    warning_ = fmt::format("{}; this host imports nothing until 'sockmictl undrain'",
                           loaded.error().reason);
    log::error("drain_state_damaged", {{"error", loaded.error()}});
    return;
  }
  state_ = std::move(*loaded);
  if (state_.order.boot.empty()) return;
  const std::string now = boot_id();
  if (now.empty() || now == state_.order.boot) return;
  const auto undone = file_.store({});
  if (!undone) {
    log::error("drain_state_write_failed", {{"error", undone.error()}});
    return;
  }
  state_ = {};
  log::info("drain_undone", {});
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
  // A cordon that the operator has ordered before does not end by a reboot.
  if (is_cordoned() && state_.order.boot.empty()) order.boot.clear();
  TRY(change({.phase = DrainPhase::Running,
              .order = std::move(order),
              .began = std::chrono::system_clock::now(),
              .ended = {},
              .reason = {},
              .moved = {},
              .failures = {},
              .cut = 0}));
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
  unlisted_.reset();
  spreads_ = std::make_shared<Spreads>();
  freezes_ = {};
  rate_ = {};
  next_order_ = {};
  spawn(services_.io, "drain", run(run_));
}

void Drain::finish(DrainPhase phase, std::string reason) {
  ++run_;
  state_.phase = phase;
  state_.reason = std::move(reason);
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
    const auto any_open = look();
    if (!any_open && !may_wait_for_list(any_open.error())) {
      finish(DrainPhase::Incomplete,
             fmt::format("cannot list the connections: {}", any_open.error().reason));
      co_return;
    }
    if (any_open && !*any_open && orders_ == 0 && Clock::now() >= grace_until_) {
      const auto phase = progress().stay > 0 ? DrainPhase::Incomplete : DrainPhase::Done;
      co_await end(run, phase);
      co_return;
    }
    const auto pause = due_.empty() ? kLongPause : kShortPause;
    co_await order_due(run);
    if (is_active(run) && is_late()) {
      co_await end(run, DrainPhase::Deadline);
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
Result<bool> Drain::look() {
  due_.clear();
  TRY_LET(found, local_connections(connections_, import_queue_));
  unlisted_.reset();
  notice_applications();
  std::set<std::uint64_t> here;
  for (const LocalConnection& each : found) {
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
  for (auto& [cookie, tracked] : tracked_) {
    if (tracked.fate != Fate::Open) continue;
    any_open = true;
    if (!tracked.ordered && tracked.next_try <= now) queue(cookie, tracked);
  }
  return any_open;
}

bool Drain::may_wait_for_list(const Error& error) {
  const auto now = Clock::now();
  if (!unlisted_) {
    unlisted_ = now;
    log::warn("drain_list_failed", {{"error", error}});
  }
  return now - *unlisted_ < kListPatience;
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
    tracked.doubt.clear();
    if (tracked.fate != Fate::NotHeld) continue;
    tracked.fate = Fate::Open;
    tracked.tries = 0;
  }
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
