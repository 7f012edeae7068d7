#include "migration/reservations.h"

#include <algorithm>

#include "applications/import_queue.h"

namespace sockmi::daemon {

Result<bool> Reservations::add(const wire::MigrationId& id, const std::string& host,
                               const std::shared_ptr<Batch>& batch) {
  if (const auto it = all_.find(id); it != all_.end()) {
    if (it->second.host != host) return fail(EACCES, "slot is reserved for {}", it->second.host);
    return false;
  }
  std::size_t& count = counts_[host];
  if (count >= kMostOfAHost) return fail(ENOBUFS, "{} has reserved {} slots already", host, count);
  ++count;
  all_.emplace(id, One{host, batch});
  return true;
}

Result<> Reservations::check(const wire::MigrationId& id, const std::string& host) const {
  const auto it = all_.find(id);
  if (it == all_.end()) return fail(ENOBUFS, "no slot is reserved for this endpoint");
  if (it->second.host != host) return fail(EACCES, "slot is reserved for {}", it->second.host);
  return {};
}

Result<> Reservations::admit(const wire::MigrationId& id, const std::string& host,
                             const wire::Endpoint& endpoint) {
  TRY(check(id, host));
  Batch& batch = *all_.at(id).batch;
  if (endpoint.service != batch.service) {
    return fail(EACCES, "the place is reserved for service '{}', not '{}'", batch.service,
                endpoint.service);
  }
  if (endpoint.owner != batch.owner) {
    return fail(EACCES, "the place is reserved for an endpoint of user {} ({}), not {} ({})",
                batch.owner.name, batch.owner.uid, endpoint.owner.name, endpoint.owner.uid);
  }
  if (kind_of(endpoint.state) != kind_of(batch.state)) {
    return fail(EACCES, "the place is reserved for an endpoint of state {:#x}, not {:#x}",
                batch.state, endpoint.state);
  }
  const std::size_t size = endpoint.tls.size() + endpoint.payload.size();
  if (size > batch.room) {
    return fail(EMSGSIZE, "{} bytes of TLS image and payload, and only {} are reserved", size,
                batch.room);
  }
  batch.room -= size;
  return {};
}

void Reservations::prolong(const wire::MigrationId& id) {
  if (const auto it = all_.find(id); it != all_.end())
    it->second.batch->prolonged = std::min(Clock::now(), it->second.batch->made + kMaxLifetime);
}

void Reservations::erase(const wire::MigrationId& id) {
  const auto it = all_.find(id);
  if (it == all_.end()) return;
  if (const auto count = counts_.find(it->second.host); --count->second == 0) counts_.erase(count);
  all_.erase(it);
}

std::size_t Reservations::of(const std::string& host) const {
  const auto it = counts_.find(host);
  return it == counts_.end() ? 0 : it->second;
}

}  // namespace sockmi::daemon
