#include "connections/foreign_addresses.h"

#include <vector>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/backoff.h"
#include "base/log.h"
#include "base/spawn.h"
#include "context/async_event.h"

namespace sockmi::daemon {

void ForeignAddresses::add(const FourTuple& tuple) {
  const FourTuple plain = tuple.unmapped();
  if (++counts_[plain] == 1) change(plain, std::nullopt);
}

void ForeignAddresses::drop(const FourTuple& tuple, milliseconds linger) {
  const auto it = counts_.find(tuple.unmapped());
  if (it == counts_.end() || --it->second > 0) return;
  change(it->first, linger);
  counts_.erase(it);
}

Result<> ForeignAddresses::adopt(milliseconds linger) {
  TRY_LET(found, services_.steering->own().foreign_addresses());
  for (const auto& [tuple, expires_in] : found)
    if (!expires_in && !counts_.contains(tuple)) change(tuple, linger);
  return {};
}

void ForeignAddresses::change(const FourTuple& tuple, std::optional<milliseconds> expires_in) {
  unwritten_[tuple] = expires_in;
  if (std::exchange(writing_, true)) return;
  spawn(services_.io, "write_foreign_addresses", write());
}

boost::asio::awaitable<void> ForeignAddresses::write() {
  co_await boost::asio::post(services_.io,
                             boost::asio::use_awaitable);  // until now this runs within change()
  for (Backoff pauses(milliseconds(200), milliseconds(5000)); !unwritten_.empty();) {
    std::vector<steer::ForeignAddress> changes;
    changes.reserve(unwritten_.size());
    for (const auto& [tuple, expires_in] : unwritten_)
      changes.push_back({tuple, expires_in});
    auto done = services_.steering->own().add_foreign_addresses(changes);
    if (done) {
      unwritten_.clear();
      break;
    }
    log::error("foreign_addresses_add_failed",
               {{"count", changes.size()}, {"error", done.error()}});
    co_await sleep_for(pauses.next());
  }
  writing_ = false;
}

}  // namespace sockmi::daemon
