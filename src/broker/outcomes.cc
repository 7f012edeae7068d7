#include "broker/outcomes.h"

namespace sockmi::broker {
namespace {
constexpr std::size_t kMost = 65536;
constexpr int kNeverThawed = ECANCELED, kEnded = ECONNABORTED;
}  // namespace

Outcome outcome_of(const Result<>& verdict) {
  if (verdict) return Outcome::Lives;
  return verdict.error().code == kNeverThawed ? Outcome::NeverThawed : verdict.error().code == kEnded ? Outcome::Ended : Outcome::Unknown;
}

Result<> verdict_on(Outcome outcome) {
  switch (outcome) {
    case Outcome::Lives: return {};
    case Outcome::NeverThawed: return fail(kNeverThawed, "it never thawed here, and never will");
    case Outcome::Ended: return fail(kEnded, "it thawed here, and its socket is gone");
    case Outcome::Unknown: break;
  }
  return fail(EAGAIN, "it is not known what became of it");
}

void Outcomes::adopt(const std::set<std::uint64_t>& alive) {
  for (const auto& [id, cookie] : journal_.thawed()) remember(id, alive.contains(cookie) ? Outcome::Lives : Outcome::Ended);
}

Outcome Outcomes::of(const image::MigrationId& id) const {
  const auto it = known_.find(id);
  return it == known_.end() ? Outcome::Unknown : it->second;
}

Result<> Outcomes::thaw(const std::vector<std::pair<image::MigrationId, std::uint64_t>>& imports) {
  TRY(journal_.thawed(imports));
  for (const auto& [id, cookie] : imports) remember(id, Outcome::Lives);
  return {};
}

void Outcomes::correct(const image::MigrationId& id, Outcome outcome) {
  remember(id, outcome);
  if (outcome == Outcome::NeverThawed) journal_.not_thawed(id);
}

void Outcomes::remember(const image::MigrationId& id, Outcome outcome) {
  if (known_.insert_or_assign(id, outcome).second) order_.push_back(id);
  if (order_.size() <= kMost) return;
  known_.erase(order_.front());
  journal_.not_thawed(order_.front());
  order_.pop_front();
}

}  // namespace sockmi::broker
