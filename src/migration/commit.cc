#include "migration/commit.h"

#include <algorithm>

#include "base/backoff.h"
#include "base/fault.h"
#include "base/log.h"
#include "migration/delta_files.h"

namespace sockmi::daemon {
namespace {

// Returns when the other host answered, by our clock. The host's own processing time
// (`took`) is taken from the round trip, and the rest is split evenly between both
// directions, as in NTP.
Clock::time_point answered_at(Clock::time_point sent, Clock::time_point received,
                              std::chrono::microseconds took) {
  return received - std::max(Clock::duration(0), received - sent - took) / 2;
}

void know(CommitProgress& one, Outcome outcome, Error reason) {
  if (one.outcome == Outcome::Unknown) {
    one.outcome = outcome;
    one.reason = std::move(reason);
  }
  one.known.set();
}

// Sends one COMMIT for all of them. Returns an error if at least one endpoint is still
// without an answer.
asio::awaitable<Result<>> ask(Exports& exports, const cluster::SelectedHost& importer,
                              const Commitments& those) {
  std::vector<wire::Committed> endpoints;
  for (const auto& one : those)
    endpoints.push_back(one->what);
  const auto sent = Clock::now();
  CO_TRY_LET(reply, co_await exports.services.control->call(importer.host, importer.control_address,
                                                            wire::pack_commit(endpoints),
                                                            milliseconds(1000)));
  CO_TRY(fault::point("commit-reply"));
  CO_TRY_LET(verdicts, wire::read_verdicts(reply, those.size()));
  const auto thawed = answered_at(sent, Clock::now(),
                                  wire::read_took(reply).value_or(std::chrono::microseconds(0)));
  Result<> open;
  for (std::size_t i = 0; i < those.size(); ++i) {
    const Outcome outcome = outcome_of(verdicts[i]);
    if (outcome == Outcome::Unknown) {
      open = verdicts[i];
      continue;
    }
    if (!verdicts[i]) {
      log::error("commit_refused", {{"migration", wire::to_hex(those[i]->what.id)},
                                    {"host", importer.host},
                                    {"error", verdicts[i].error()}});
    }
    those[i]->asked = true;
    those[i]->thawed = thawed;
    exports.undecided.erase(those[i]->what.id);
    know(*those[i], outcome, verdicts[i] ? Error() : verdicts[i].error());
  }
  co_return open;
}

}  // namespace

void CommitProgress::decide(Decide how) {
  const auto decide_one = [how](CommitProgress& one) {
    // An importer that asks us later gets the answer that the endpoint does not move.
    if (how == Decide::Discard) one.asked = true;
    know(one, how == Decide::Commit ? Outcome::Lives : Outcome::NeverThawed,
         {ECANCELED, "an operator discarded the move"});
  };
  decide_one(*this);
  for (const auto& other : group)
    if (const auto one = other.lock()) decide_one(*one);
}

void make_group(std::span<const std::shared_ptr<CommitProgress>> those) {
  for (const auto& one : those)
    for (const auto& other : those)
      if (one != other) one->group.push_back(other);
}

asio::awaitable<void> send_commit_until_acknowledged(Exports& exports,
                                                     cluster::SelectedHost importer,
                                                     Commitments commitments) {
  Commitments open = commitments;
  for (Backoff pauses(milliseconds(20), milliseconds(5000));;) {
    auto answered = co_await ask(exports, importer, open);
    std::erase_if(open, [](const auto& one) { return one->asked; });
    if (open.empty()) break;
    log::warn("commit_repeated", {{"migration", wire::to_hex(open.front()->what.id)},
                                  {"count", open.size()},
                                  {"host", importer.host},
                                  {"error", answered ? "" : to_string(answered.error())}});
    co_await sleep_for(pauses.next());
    std::erase_if(open, [](const auto& one) { return one->asked; });
    if (open.empty()) break;
  }
  std::vector<wire::MigrationId> ids;
  for (const auto& one : commitments) {
    exports.undecided.erase(one->what.id);
    co_await one->settled.wait();
    exports.table.forget_decision(one->what.id);
    if (is_in_commit_alone(one->what.delta))
      drop_delta(exports.services.settings.runtime, one->what.id);
    ids.push_back(one->what.id);
  }
  // If it is lost, the importer only keeps its record a little longer.
  co_await send_abort(*exports.services.control, importer, std::move(ids));
}

asio::awaitable<void> send_abort(cluster::ControlChannel& control, cluster::SelectedHost importer,
                                 std::vector<wire::MigrationId> ids) {
  co_await control.call(importer.host, importer.control_address, wire::pack_abort(ids),
                        milliseconds(1000));
}

}  // namespace sockmi::daemon
