// The slots that other hosts have reserved here and not filled yet: their owners, what
// they are reserved for, and their lifetime.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "base/error.h"
#include "cluster/discovery.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

class Reservations {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMostOfAHost = 8192;       // two batches of the largest kind
  static constexpr std::chrono::minutes kMaxLifetime{5};  // a batch cannot be prolonged beyond this

  // The reservations of one CONFIRM. Prolonging one of them prolongs all, because their
  // queues are pre-copied one after the other.
  struct Batch {
    std::string service;
    User owner;
    std::uint8_t state = 0;
    std::uint64_t room = 0;  // bytes of TLS images and payloads that may still come
    Clock::time_point made = Clock::now(), prolonged = made;
    explicit Batch(const cluster::Offer& offer)
        : service(offer.service),
          owner(offer.owner),
          state(offer.state),
          room(offer.size) {}
  };
  // Returns false if the reservation exists already. Errors: ENOBUFS if the host has too
  // many; EACCES if it is another host's.
  Result<bool> add(const wire::MigrationId& id, const std::string& host,
                   const std::shared_ptr<Batch>& batch);
  // Checks that `host` has reserved `id`. Errors: ENOBUFS if nobody has; EACCES if
  // another host has.
  Result<> check(const wire::MigrationId& id, const std::string& host) const;
  // Checks that `endpoint` is what `host` has reserved `id` for, and takes its size from
  // the batch. Errors: as above; EACCES also if its service, owner or kind is another;
  // EMSGSIZE if the batch becomes larger than was said.
  Result<> admit(const wire::MigrationId& id, const std::string& host,
                 const wire::Endpoint& endpoint);
  bool contains(const wire::MigrationId& id) const { return all_.contains(id); }
  void prolong(const wire::MigrationId& id);
  void erase(const wire::MigrationId& id);
  std::size_t of(const std::string& host) const;
  bool empty() const { return all_.empty(); }
  const wire::MigrationId& first() const { return all_.begin()->first; }  // requires !empty()

 private:
  struct One {
    std::string host;
    std::shared_ptr<Batch> batch;
  };
  std::map<wire::MigrationId, One> all_;
  std::map<std::string, std::size_t> counts_;
};

}  // namespace sockmi::daemon
