#include "proxy/client_limit.h"

#include <algorithm>

namespace sockmi::proxy {
namespace {

constexpr std::size_t kPrefixBytes = 8;  // of IPv6
constexpr std::chrono::seconds kClientLogInterval{10};

// Returns the address under which a client is counted.
IpAddress counted_as(IpAddress client) {
  if (client.family == AF_INET6)
    std::fill(client.bytes.begin() + kPrefixBytes, client.bytes.end(), std::uint8_t{0});
  return client;
}

}  // namespace

Result<ClientLimit::Slot> ClientLimit::acquire(const IpAddress& client, std::uint32_t most) {
  if (client.any()) return Slot();
  const IpAddress counted = counted_as(client);
  const std::lock_guard lock(mutex_);
  std::uint32_t& count = counts_[counted];
  if (count >= most) return fail(EDQUOT, "the client has {} connections, as many as it may", count);
  ++count;
  return Slot(shared_from_this(), counted);
}

void ClientLimit::release(const IpAddress& counted) {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(counted);
  if (--found->second == 0) counts_.erase(found);
}

bool ClientLimit::may_log() {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (now < next_log_) return false;
  next_log_ = now + kClientLogInterval;
  return true;
}

}  // namespace sockmi::proxy
