#include "migration/outcomes.h"

namespace sockmi::daemon {
namespace {
constexpr std::size_t kMaxOutcomes = 65536;  // of one host
constexpr int kNeverThawed = ECANCELED, kEnded = ECONNABORTED;
}  // namespace

Outcome outcome_of(const Result<>& verdict) {
  if (verdict) return Outcome::Lives;
  return verdict.error().code == kNeverThawed ? Outcome::NeverThawed
         : verdict.error().code == kEnded     ? Outcome::Ended
                                              : Outcome::Unknown;
}

Result<> verdict_on(Outcome outcome) {
  switch (outcome) {
    case Outcome::Lives: return {};
    case Outcome::NeverThawed:
      return fail(kNeverThawed, "endpoint never thawed here, and never will");
    case Outcome::Ended: return fail(kEnded, "endpoint thawed here, and its socket is gone");
    case Outcome::Unknown: break;
  }
  return fail(EAGAIN, "outcome is not known");
}

void Outcomes::adopt(const std::set<std::uint64_t>& alive) {
  for (const auto& [id, thawed] : table_.journal().thawed()) {
    const bool lives =
        thawed.cookie == 0 || (!thawed.ended_with_boot && alive.contains(thawed.cookie));
    if (lives) table_.log_delivery(id);  // an application has it
    remember(thawed.host, id, lives ? Outcome::Lives : Outcome::Ended);
  }
}

Outcome Outcomes::of(const std::string& host, const wire::MigrationId& id) const {
  for (const auto& each : {host, std::string()}) {
    if (const auto of_host = hosts_.find(each); of_host != hosts_.end()) {
      if (const auto it = of_host->second.known.find(id); it != of_host->second.known.end())
        return it->second;
    }
  }
  return Outcome::Unknown;
}

Outcome Outcomes::give_up(const std::string& host, const wire::MigrationId& id) {
  if (of(host, id) == Outcome::Unknown && !table_.journal().may_lack_facts())
    remember(host, id, Outcome::NeverThawed);
  return of(host, id);
}

Result<> Outcomes::thaw(const std::string& host, const std::vector<Thawing>& imports) {
  TRY(table_.log_thaw(host, imports));
  for (const Thawing& each : imports)
    remember(host, each.id, Outcome::Lives);
  return {};
}

void Outcomes::correct(const std::string& host, std::span<const wire::MigrationId> group,
                       Outcome outcome, std::span<const Journal::Away> away) {
  std::vector<wire::MigrationId> recorded;
  for (const auto& id : group) {
    if (of(host, id) != Outcome::Unknown) recorded.push_back(id);
    remember(host, id, outcome);
  }
  if (outcome == Outcome::NeverThawed) table_.forget_thaw(recorded, away);
}

void Outcomes::forget(const std::string& host, const wire::MigrationId& id) {
  if (of(host, id) != Outcome::Unknown) table_.forget_thaw(id);
}

void Outcomes::remember(const std::string& host, const wire::MigrationId& id, Outcome outcome) {
  OfHost& of_host = hosts_[host];
  if (of_host.known.insert_or_assign(id, outcome).second) of_host.order.push_back(id);
  if (of_host.order.size() <= kMaxOutcomes) return;
  const wire::MigrationId oldest = of_host.order.front();
  of_host.order.pop_front();
  const auto it = of_host.known.find(oldest);
  const bool thawed = it->second != Outcome::NeverThawed;
  of_host.known.erase(it);
  if (thawed) table_.forget_thaw(oldest);
}

}  // namespace sockmi::daemon
