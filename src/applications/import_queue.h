// Holds the endpoints that wait here for an application, the applications that wait for
// an endpoint, and the available slots.
//
// As in the SockMi paper there are three lists (bound, listening, connected), each with a
// maximum. A slot is reserved when an exporter confirms that it has selected us, and
// stays reserved until an application has the endpoint. So an offer beyond the maximum is
// refused, and an endpoint is never dropped.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "context/match.h"
#include "context/policy.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

struct Criteria {
  std::string service;
  std::uint8_t states = 0, preferred = 0;  // SOCKMI_* bits
  Match local, remote;
};

class HandOver;

struct ReadyEndpoint {
  wire::MigrationId id{};
  wire::Endpoint endpoint;
  FourTuple tuple;
  unique_fd socket;
  std::uint64_t cookie = 0;
  std::chrono::steady_clock::time_point since;

  // The processes that have had the endpoint and could not use it, and when each may have
  // it again (max(): never). Otherwise an application that cannot load an endpoint would
  // get it again immediately, and so on forever.
  std::map<pid_t, std::chrono::steady_clock::time_point> kept_from = {};
  unsigned came_back = 0;  // how often it came back from an application
  // When an application last waited that may have it.
  std::chrono::steady_clock::time_point last_wanted = since;
  // Since when its home cannot be reached, or refuses it.
  std::optional<std::chrono::steady_clock::time_point> return_failing_since = {};
  std::chrono::steady_clock::time_point next_try = {};
  // Not 0: it goes to an application together with the others that have this number. Set
  // by ImportQueue::add().
  std::uint64_t group = 0;
  // None: it came from another host. Otherwise a process of this host hands it over.
  std::shared_ptr<HandOver> hand_over = {};
};

// Splits endpoints that follow each other by their groups. An endpoint without a group is
// alone in one.
std::vector<std::vector<ReadyEndpoint>> by_group(std::vector<ReadyEndpoint> all);

// The kind of an endpoint in this state, which has a list of its own: SOCKMI_BOUND,
// SOCKMI_LISTENING, or SOCKMI_CONNECTED for connections of every state.
std::uint8_t kind_of(std::uint8_t state);

struct QueueLimits {
  std::size_t bound = 1024, listening = 1024, connected = 65536;
};

class ImportQueue {
 public:
  ImportQueue(QueueLimits maxima, const Policy& policy) : maxima_(maxima), policy_(policy) {}

  // --- slots ---
  std::size_t free_slots(std::uint8_t state) const;
  // Idempotent. Errors: ENOBUFS if the list is full.
  Result<> reserve(const wire::MigrationId& id, std::uint8_t state);
  void release(const wire::MigrationId& id);
  // Slots in use, of those for endpoints of this state.
  std::size_t used(std::uint8_t state) const { return maximum(state) - free_slots(state); }
  const QueueLimits& maxima() const { return maxima_; }

  // --- endpoints that are ready ---
  void add(ReadyEndpoint ready);
  // Adds endpoints of a group: one application may get all of them, or none.
  void add(std::vector<ReadyEndpoint> group);
  struct Taken {
    std::size_t criterion;  // index of the criterion that it meets
    ReadyEndpoint ready;
  };
  // First takes, if `groups`, each group of which every endpoint meets a criterion of its
  // own; preferred states have no effect on these. Then each criterion that is left
  // takes, in order, the first endpoint without a group that meets it, preferred states
  // first. The endpoints of a group follow each other in the result. Endpoints that were
  // taken keep their slots until release().
  std::vector<Taken> take(const std::vector<Criteria>& criteria, const User& user,
                          pid_t process = 0, bool groups = true);
  // Takes the endpoints for which `which` returns true, and the others of their groups.
  std::vector<ReadyEndpoint> take_if(const std::function<bool(const ReadyEndpoint&)>& which);
  // True if an application waits that may have the endpoint, now or after a pause.
  bool is_wanted(const ReadyEndpoint& ready) const;
  // To be called from time to time: notifies applications that may have an endpoint
  // again, and updates `last_wanted`.
  void look_after();
  bool has_for(const std::string& service, const User& user) const;  // one that this user may have
  const std::list<ReadyEndpoint>& ready() const { return ready_; }
  // Number of ready endpoints that use the slots for endpoints of this state.
  std::size_t ready(std::uint8_t state) const {
    return std::ranges::count_if(ready_, [&](const ReadyEndpoint& each) {
      return &maximum(each.endpoint.state) == &maximum(state);
    });
  }

  // --- applications that wait ---
  // Calls `notify` whenever an endpoint becomes ready that meets the criteria and that
  // the user may have, as long as the returned handle lives.
  using Watch = std::shared_ptr<void>;
  Watch watch(Criteria criteria, const User& user, std::function<void()> notify, pid_t process = 0);
  // The number of waiting applications that may have an endpoint that `owner` exported.
  // `except`: a process that does not count, if it is not 0.
  std::size_t watching(const std::string& service, const User& owner, pid_t except = 0) const;

 private:
  struct Watcher {
    Criteria criteria;
    User user;
    std::function<void()> notify;
    pid_t process;
  };
  bool meets(const ReadyEndpoint& ready, const Criteria& wanted, std::uint8_t states,
             const User& user) const;
  bool may_have(const Watcher& watcher, const ReadyEndpoint& ready) const;
  using Place = std::list<ReadyEndpoint>::iterator;
  Place end_of_group(Place first);
  void take_groups(const std::vector<Criteria>& criteria, const User& user, pid_t process,
                   std::vector<bool>& met, std::vector<Taken>& taken);
  void tell(Place first, Place end);
  const std::size_t& maximum(std::uint8_t state) const;
  QueueLimits maxima_;
  const Policy& policy_;
  std::map<wire::MigrationId, std::uint8_t> reserved_;
  // The reserved slots, by the maximum that they count against.
  std::map<const std::size_t*, std::size_t> taken_;
  std::list<ReadyEndpoint> ready_;  // the endpoints of a group follow each other
  std::uint64_t last_group_ = 0;
  std::shared_ptr<std::list<Watcher>> watchers_ = std::make_shared<std::list<Watcher>>();
};

}  // namespace sockmi::daemon
