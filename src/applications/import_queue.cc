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

std::vector<std::vector<ReadyEndpoint>> by_group(std::vector<ReadyEndpoint> all) {
  std::vector<std::vector<ReadyEndpoint>> groups;
  for (ReadyEndpoint& each : all) {
    if (groups.empty() || each.group == 0 || groups.back().back().group != each.group)
      groups.emplace_back();
    groups.back().push_back(std::move(each));
  }
  return groups;
}

void ImportQueue::add(ReadyEndpoint ready) {
  std::vector<ReadyEndpoint> alone;
  alone.push_back(std::move(ready));
  add(std::move(alone));
}

void ImportQueue::add(std::vector<ReadyEndpoint> group) {
  const std::uint64_t number = group.size() > 1 ? ++last_group_ : 0;
  const auto count = static_cast<std::ptrdiff_t>(group.size());
  for (ReadyEndpoint& ready : group) {
    ready.group = number;
    ready.last_wanted = std::max(ready.last_wanted, ready.since);
    ready_.push_back(std::move(ready));
  }
  tell(std::prev(ready_.end(), count), ready_.end());
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
void ImportQueue::tell(Place first, Place end) {
  std::vector<std::function<void()>> notified;
  for (const auto& watcher : *watchers_) {
    if (std::any_of(first, end, [&](const ReadyEndpoint& ready) {
          return may_have(watcher, ready) && !ready.kept_from.contains(watcher.process);
        }))
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
  for (auto it = ready_.begin(); it != ready_.end(); ++it) {
    if (is_wanted(*it)) it->last_wanted = now;
    if (std::erase_if(it->kept_from, [&](const auto& each) { return each.second <= now; }))
      tell(it, std::next(it));
  }
}

ImportQueue::Place ImportQueue::end_of_group(Place first) {
  return first->group == 0 ? std::next(first)
                           : std::find_if(first, ready_.end(), [&](const ReadyEndpoint& each) {
                               return each.group != first->group;
                             });
}

namespace {

// Gives each of the endpoints 0 to `count` a criterion of its own (a maximum matching by
// augmenting paths). `fits`: which criteria an endpoint meets. Returns the criteria;
// empty if there are not enough.
std::vector<std::size_t> assign(std::size_t count, std::size_t criteria,
                                const std::function<bool(std::size_t, std::size_t)>& fits) {
  constexpr std::size_t kNone = ~std::size_t(0);
  std::vector<std::size_t> owner(criteria, kNone), criterion(count, kNone);
  std::vector<bool> tried;
  const std::function<bool(std::size_t)> place = [&](std::size_t endpoint) {
    for (std::size_t i = 0; i < criteria; ++i) {
      if (tried[i] || !fits(endpoint, i)) continue;
      tried[i] = true;
      if (owner[i] != kNone && !place(owner[i])) continue;
      owner[i] = endpoint;
      criterion[endpoint] = i;
      return true;
    }
    return false;
  };
  for (std::size_t endpoint = 0; endpoint < count; ++endpoint) {
    tried.assign(criteria, false);
    if (!place(endpoint)) return {};
  }
  return criterion;
}

}  // namespace

void ImportQueue::take_groups(const std::vector<Criteria>& criteria, const User& user,
                              pid_t process, std::vector<bool>& met, std::vector<Taken>& taken) {
  for (auto first = ready_.begin(); first != ready_.end();) {
    const auto end = end_of_group(first);
    std::vector<ReadyEndpoint*> group;
    for (auto it = first; it != end; ++it)
      group.push_back(&*it);
    const auto fits = [&](std::size_t endpoint, std::size_t i) {
      return !met[i] && meets(*group[endpoint], criteria[i], criteria[i].states, user) &&
             !group[endpoint]->kept_from.contains(process);
    };
    const auto found = first->group == 0 ? std::vector<std::size_t>()
                                         : assign(group.size(), criteria.size(), fits);
    for (std::size_t k = 0; k < found.size(); ++k) {
      met[found[k]] = true;
      taken.push_back({found[k], std::move(*group[k])});
    }
    if (!found.empty()) ready_.erase(first, end);
    first = end;
  }
}

std::vector<ImportQueue::Taken> ImportQueue::take(const std::vector<Criteria>& criteria,
                                                  const User& user, pid_t process, bool groups) {
  std::vector<Taken> taken;
  std::vector<bool> met(criteria.size());
  if (groups) take_groups(criteria, user, process, met, taken);
  for (std::size_t i = 0; i < criteria.size(); ++i) {
    if (met[i]) continue;
    const Criteria& wanted = criteria[i];
    const auto first = [&](std::uint8_t states) {
      return std::ranges::find_if(ready_, [&](const ReadyEndpoint& ready) {
        return ready.group == 0 && meets(ready, wanted, states, user) &&
               !ready.kept_from.contains(process);
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
  for (auto first = ready_.begin(); first != ready_.end();) {
    const auto end = end_of_group(first);
    if (std::any_of(first, end, which)) {
      std::move(first, end, std::back_inserter(out));
      ready_.erase(first, end);
    }
    first = end;
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

std::size_t ImportQueue::watching(const std::string& service, const User& owner,
                                  pid_t except) const {
  return std::ranges::count_if(*watchers_, [&](const Watcher& watcher) {
    return watcher.criteria.service == service && (except == 0 || watcher.process != except) &&
           policy_.may_have(service, watcher.user, owner);
  });
}

}  // namespace sockmi::daemon
