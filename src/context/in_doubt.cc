#include "context/in_doubt.h"

#include "base/log.h"

namespace sockmi::daemon {

std::string frozen_id(std::uint64_t cookie) {
  return fmt::format("socket-{}", cookie);
}

void Doubts::add(const std::string& id, Doubt doubt) {
  doubt.since = std::chrono::system_clock::now();
  const auto [it, added] = all_.try_emplace(id, std::move(doubt));
  if (added)
    log::warn(
        "event=in_doubt id={} kind={} connection={} host={} remedy=\"that host's daemon, or "
        "sockmictl doubt\"",
        id, it->second.kind, to_string(it->second.tuple), it->second.host);
}

void Doubts::settled(const std::string& id) {
  if (all_.erase(id)) log::warn("event=doubt_settled id={}", id);
}

Result<> Doubts::decide(const std::string& id, Decide how) {
  const auto it = all_.find(id);
  if (it == all_.end()) return fail(ENOENT, "nothing of this name is in doubt here: {}", id);
  log::warn("event=doubt_decided id={} how={} by=operator", id,
            how == Decide::Commit ? "commit" : "discard");
  const auto decide = it->second.decide;  // a copy: decide() may remove the entry
  TRY(decide(how));
  settled(id);
  return {};
}

}  // namespace sockmi::daemon
