#include "proxy/backends.h"

#include <algorithm>
#include <tuple>

namespace sockmi::proxy {
namespace {

std::int64_t now() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// FNV-1a, then mixed (the end of MurmurHash3's mixer), because similar input gives
// similar FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv.
std::uint64_t hash_of(std::string_view name, const IpAddress& client) {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](std::uint8_t byte) {
    hash = (hash ^ byte) * 0x100000001b3;
  };
  for (const char each : name)
    add(static_cast<std::uint8_t>(each));
  for (const std::uint8_t each : client.view())
    add(each);
  hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;
  return hash ^ hash >> 33;
}

// The lower, the better.
int rank_of(const Backend& backend) {
  if (backend.is_down()) return 2;
  return backend.avoided() ? 1 : 0;
}

}  // namespace

bool Backend::acquire() {
  if (connections_.fetch_add(1, std::memory_order_relaxed) < config.max_connections) return true;
  release();
  return false;
}

bool Backend::set_failed(bool failed) {
  const auto until = failed ? now() + std::chrono::nanoseconds(kAvoidFailed).count() : 0;
  return (failed_until_.exchange(until, std::memory_order_relaxed) != 0) != failed;
}

bool Backend::avoided() const {
  const auto until = failed_until_.load(std::memory_order_relaxed);
  return until != 0 && now() < until;
}

Result<StreamAddress> Backend::address() const {
  const std::lock_guard lock(mutex_);
  return address_;
}

Backend::Lookup Backend::note_lookup(const Result<std::vector<IpAddress>>& found) {
  const std::lock_guard lock(mutex_);
  if (!found) {
    if (!address_) address_ = std::unexpected(found.error());
    return std::exchange(lookup_failed_, true) ? Lookup::Same : Lookup::Failed;
  }
  lookup_failed_ = false;
  if (address_ && std::ranges::find(*found, address_->ip.ip) != found->end()) return Lookup::Same;
  address_ = StreamAddress{SocketAddress{found->front(), config.address.port}, ""};
  return Lookup::Changed;
}

bool Backend::note_check(bool good, const CheckConfig& checks) {
  if (good != is_down()) {
    contrary_checks_ = 0;
    return false;
  }
  if (++contrary_checks_ < (good ? checks.rise : checks.fall)) return false;
  contrary_checks_ = 0;
  down_.store(!good, std::memory_order_relaxed);
  return true;
}

void Backend::forget_checks() {
  contrary_checks_ = 0;
  down_.store(false, std::memory_order_relaxed);
}

BackendSlot choose(const Backends& backends, const std::vector<const Backend*>& tried,
                   const IpAddress* client) {
  std::vector<std::tuple<int, std::uint64_t, const std::shared_ptr<Backend>*>> candidates;
  for (const auto& backend : backends) {
    if (std::ranges::find(tried, backend.get()) == tried.end()) {
      candidates.emplace_back(
          rank_of(*backend),
          client ? hash_of(backend->name, *client) : std::uint64_t{backend->connections()},
          &backend);
    }
  }
  // Equals keep the order of the configuration.
  std::ranges::stable_sort(candidates, [](const auto& one, const auto& other) {
    return std::tie(std::get<0>(one), std::get<1>(one)) <
           std::tie(std::get<0>(other), std::get<1>(other));
  });
  for (const auto& [avoided, rank, backend] : candidates)
    if ((*backend)->acquire()) return BackendSlot(*backend);
  return {};
}

}  // namespace sockmi::proxy
