#include "applications/import_queue.h"

#include <algorithm>

#include <sockmi/sockmi.h>

namespace sockmi::daemon {

std::uint8_t kind_of(std::uint8_t state) {
  return state == SOCKMI_BOUND || state == SOCKMI_LISTENING ? state : SOCKMI_CONNECTED;
}

const std::size_t& ImportQueue::maximum(std::uint8_t state) const {
  const std::uint8_t kind = kind_of(state);
  if (kind == SOCKMI_BOUND) return maxima_.bound;
  if (kind == SOCKMI_LISTENING) return maxima_.listening;
  return maxima_.connected;
}

std::size_t ImportQueue::free_slots(std::uint8_t state) const {
  const auto& most = maximum(state);
  const auto count = taken_.find(&most);
  const std::size_t taken = count == taken_.end() ? 0 : count->second;
  return taken < most ? most - taken : 0;
}

Result<> ImportQueue::reserve(const wire::MigrationId& id, std::uint8_t state) {
  if (reserved_.contains(id)) return {};
  if (free_slots(state) == 0)
    return fail(ENOBUFS, "import queue is full ({} slots)", maximum(state));
  reserved_.emplace(id, state);
  ++taken_[&maximum(state)];
  return {};
}

void ImportQueue::release(const wire::MigrationId& id) {
  const auto it = reserved_.find(id);
  if (it == reserved_.end()) return;
  --taken_[&maximum(it->second)];
  reserved_.erase(it);
}

void ImportQueue::add(ReadyEndpoint ready) {
  ready.last_wanted = std::max(ready.last_wanted, ready.since);
  ready_.push_back(std::move(ready));
  tell(ready_.back());
}

bool ImportQueue::meets(const ReadyEndpoint& ready, const Criteria& wanted, std::uint8_t states,
                        const User& user) const {
  return ready.endpoint.service == wanted.service && (ready.endpoint.state & states) &&
         wanted.local.fits(ready.tuple.local) && wanted.remote.fits(ready.tuple.remote) &&
         policy_.may_have(wanted.service, user, ready.endpoint.owner);
}

bool ImportQueue::may_have(const Watcher& watcher, const ReadyEndpoint& ready) const {
  return meets(ready, watcher.criteria, watcher.criteria.states, watcher.user);
}

// The callbacks are copied first, because a watcher may end its watch while it is
// notified.
void ImportQueue::tell(const ReadyEndpoint& ready) {
  std::vector<std::function<void()>> notified;
  for (const auto& watcher : *watchers_) {
    if (may_have(watcher, ready) && !ready.kept_from.contains(watcher.process))
      notified.push_back(watcher.notify);
  }
  for (const auto& notify : notified)
    notify();
}

bool ImportQueue::is_wanted(const ReadyEndpoint& ready) const {
  return std::ranges::any_of(*watchers_, [&](const Watcher& watcher) {
    const auto kept = ready.kept_from.find(watcher.process);
    return may_have(watcher, ready) &&
           (kept == ready.kept_from.end() ||
            kept->second != std::chrono::steady_clock::time_point::max());
  });
}

void ImportQueue::look_after() {
  const auto now = std::chrono::steady_clock::now();
  for (ReadyEndpoint& ready : ready_) {
    if (is_wanted(ready)) ready.last_wanted = now;
    if (std::erase_if(ready.kept_from, [&](const auto& each) { return each.second <= now; }))
      tell(ready);
  }
}

std::vector<ImportQueue::Taken> ImportQueue::take(const std::vector<Criteria>& criteria,
                                                  const User& user, pid_t process) {
  std::vector<Taken> taken;
  for (std::size_t i = 0; i < criteria.size(); ++i) {
    const Criteria& wanted = criteria[i];
    const auto first = [&](std::uint8_t states) {
      return std::ranges::find_if(ready_, [&](const ReadyEndpoint& ready) {
        return meets(ready, wanted, states, user) && !ready.kept_from.contains(process);
      });
    };
    auto it =
        (wanted.states & wanted.preferred) ? first(wanted.states & wanted.preferred) : ready_.end();
    if (it == ready_.end()) it = first(wanted.states);
    if (it == ready_.end()) continue;
    taken.push_back({i, std::move(*it)});
    ready_.erase(it);
  }
  return taken;
}

std::vector<ReadyEndpoint> ImportQueue::take_if(
    const std::function<bool(const ReadyEndpoint&)>& which) {
  std::vector<ReadyEndpoint> out;
  for (auto it = ready_.begin(); it != ready_.end();) {
    if (!which(*it)) {
      ++it;
      continue;
    }
    out.push_back(std::move(*it));
    it = ready_.erase(it);
  }
  return out;
}

bool ImportQueue::has_for(const std::string& service, const User& user) const {
  return std::ranges::any_of(ready_, [&](const ReadyEndpoint& ready) {
    return ready.endpoint.service == service &&
           policy_.may_have(service, user, ready.endpoint.owner);
  });
}

ImportQueue::Watch ImportQueue::watch(Criteria criteria, const User& user,
                                      std::function<void()> notify, pid_t process) {
  watchers_->push_front({std::move(criteria), user, std::move(notify), process});
  return {nullptr, [watchers = watchers_, it = watchers_->begin()](void*) {
            watchers->erase(it);
          }};
}

std::size_t ImportQueue::watching(const std::string& service, const User& owner) const {
  return std::ranges::count_if(*watchers_, [&](const Watcher& watcher) {
    return watcher.criteria.service == service && policy_.may_have(service, watcher.user, owner);
  });
}

}  // namespace sockmi::daemon
