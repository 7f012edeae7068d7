// Places that other hosts have reserved here and not filled yet: who has which, and for how long.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

class Reservations {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMostOfAHost = 8192;       // two batches of the largest kind
  static constexpr std::chrono::minutes kMaxLifetime{5};      // however often a batch is prolonged

  // Those of one CONFIRM; what prolongs one of them prolongs them all, for they are sent ahead one after the other.
  struct Batch {
    Clock::time_point made = Clock::now(), prolonged = made;
  };
  // False: it is there already. ENOBUFS: the host has too many. EACCES: it is another host's.
  Result<bool> add(const wire::MigrationId& id, const std::string& host, const std::shared_ptr<Batch>& batch);
  // Whether `host` has reserved it. ENOBUFS: nobody has; EACCES: somebody else.
  Result<> check(const wire::MigrationId& id, const std::string& host) const;
  bool contains(const wire::MigrationId& id) const { return all_.contains(id); }
  void prolong(const wire::MigrationId& id);
  void erase(const wire::MigrationId& id);
  std::size_t of(const std::string& host) const;
  bool empty() const { return all_.empty(); }
  const wire::MigrationId& first() const { return all_.begin()->first; }  // if there is one

 private:
  struct One {
    std::string host;
    std::shared_ptr<Batch> batch;
  };
  std::map<wire::MigrationId, One> all_;
  std::map<std::string, std::size_t> counts_;
};

}  // namespace sockmi::daemon
