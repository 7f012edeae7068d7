// The endpoints that wait here for an application, the applications that wait for an endpoint, and the places there are.
//
// Three lists as in the article: bound, listening, connected, each with a maximum. A place is reserved when an exporter confirms us,
// and stays taken until an application has the endpoint, so that an offer beyond the maximum is refused and never dropped.
#pragma once

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
#include "applications/policy.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

struct Match {
  IpAddress ip;         // any(): every address
  unsigned prefix = 0;  // bits
  std::uint16_t port = 0;
  static Result<Match> parse(const std::string& text);  // "" (everything), ADDRESS:PORT, ADDRESS, or ADDRESS/PREFIX
  bool fits(const SocketAddress& address) const;
};

struct Criteria {
  std::string service;
  std::uint8_t states = 0, preferred = 0;  // SOCKMI_* bits
  Match local, remote;
};

struct ReadyEndpoint {
  wire::MigrationId id{};
  wire::Endpoint endpoint;
  FourTuple tuple;
  unique_fd socket;
  std::uint64_t cookie = 0;
  std::chrono::steady_clock::time_point since;

  // Whoever has had it and could not use it, by process, and when it may have it again (max(): never). An application that can not load an
  // endpoint would else be given it at once again, and so on for ever.
  std::map<pid_t, std::chrono::steady_clock::time_point> kept_from = {};
  unsigned came_back = 0;                                            // how often
  std::chrono::steady_clock::time_point last_wanted = since;         // when somebody last waited who may have it
  std::optional<std::chrono::steady_clock::time_point> homeless_since = {};  // since its home could not be reached, or did not take it
  std::chrono::steady_clock::time_point next_try = {};
};

struct QueueLimits {
  std::size_t bound = 1024, listening = 1024, connected = 65536;
};

class ImportQueue {
 public:
  ImportQueue(QueueLimits maxima, const Policy& policy) : maxima_(maxima), policy_(policy) {}

  // --- places ---
  std::size_t free_places(std::uint8_t state) const;
  Result<> reserve(const wire::MigrationId& id, std::uint8_t state);  // ENOBUFS: full. Idempotent.
  void release(const wire::MigrationId& id);
  std::size_t used() const { return reserved_.size(); }
  const QueueLimits& maxima() const { return maxima_; }

  // --- endpoints that are ready ---
  void add(ReadyEndpoint ready);
  struct Taken {
    std::size_t criterion;  // index of the one it meets
    ReadyEndpoint ready;
  };
  // Each criterion in order takes the first endpoint it meets, preferred state first. Taken endpoints keep their places until release().
  std::vector<Taken> take(const std::vector<Criteria>& criteria, const User& user, pid_t process = 0);
  // Those that `which` says yes to.
  std::vector<ReadyEndpoint> take_if(const std::function<bool(const ReadyEndpoint&)>& which);
  // Whether an application waits that may have it, now or in a moment.
  bool is_wanted(const ReadyEndpoint& ready) const;
  // To be called from time to time: who may have an endpoint again is told so, and `last_wanted` is brought up to date.
  void look_after();
  bool has_for(const std::string& service, const User& user) const;  // one that this user may have
  const std::list<ReadyEndpoint>& ready() const { return ready_; }

  // --- applications that wait ---
  // `notify` is called whenever an endpoint becomes ready that meets the criteria and that the user may have. Lives as long as the returned handle.
  using Watch = std::shared_ptr<void>;
  Watch watch(Criteria criteria, const User& user, std::function<void()> notify, pid_t process = 0);
  // How many of them may have an endpoint that `owner` exported.
  std::size_t watching(const std::string& service, const User& owner) const;

 private:
  struct Watcher {
    Criteria criteria;
    User user;
    std::function<void()> notify;
    pid_t process;
  };
  bool meets(const ReadyEndpoint& ready, const Criteria& wanted, std::uint8_t states, const User& user) const;
  bool may_have(const Watcher& watcher, const ReadyEndpoint& ready) const;
  void tell(const ReadyEndpoint& ready);
  const std::size_t& maximum(std::uint8_t state) const;
  QueueLimits maxima_;
  const Policy& policy_;
  std::map<wire::MigrationId, std::uint8_t> reserved_;
  std::map<const std::size_t*, std::size_t> taken_;  // places, by the maximum that they count against
  std::list<ReadyEndpoint> ready_;
  std::shared_ptr<std::list<Watcher>> watchers_ = std::make_shared<std::list<Watcher>>();
};

}  // namespace sockmi::daemon
