#include "context/in_doubt.h"

#include "base/log.h"

namespace sockmi::daemon {

std::string frozen_id(std::uint64_t cookie) {
  return fmt::format("socket-{}", cookie);
}

void Doubts::add(const std::string& id, Doubt doubt) {
  doubt.since = std::chrono::system_clock::now();
  const auto [it, added] = all_.try_emplace(id, std::move(doubt));
  if (added) {
    log::warn("outcome_in_doubt",
              {{"id", id},
               {"kind", it->second.kind},
               {"connection", it->second.tuple},
               {"host", it->second.host},
               {"action", "wait for that host's daemon, or use sockmictl doubt"}});
  }
}

void Doubts::settled(const std::string& id) {
  if (all_.erase(id)) log::warn("outcome_settled", {{"id", id}});
}

Result<> Doubts::decide(const std::string& id, Decide how) {
  const auto it = all_.find(id);
  if (it == all_.end()) return fail(ENOENT, "nothing is in doubt under the id '{}'", id);
  log::warn("outcome_decided_by_operator",
            {{"id", id}, {"decision", how == Decide::Commit ? "commit" : "discard"}});
  const auto decide = it->second.decide;  // a copy: decide() may remove the entry
  TRY(decide(how));
  settled(id);
  return {};
}

}  // namespace sockmi::daemon
