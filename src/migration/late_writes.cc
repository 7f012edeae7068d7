#include "migration/late_writes.h"

#include <algorithm>

#include "base/log.h"
#include "base/spawn.h"
#include "tcp/late_writes.h"

namespace sockmi::daemon {
namespace {

constexpr std::size_t kMostTaken = 4096;

}  // namespace

void LateWrites::expect(const wire::MigrationId& id, const std::string& host, int fd,
                        std::function<void()> done) {
  const auto one = std::make_shared<Waiting>(io_.get_executor(), host, fd, std::move(done));
  waiting_[id] = one;
  spawn(io_, "wait_for_late_writes", wait(id, one));
}

asio::awaitable<void> LateWrites::wait(wire::MigrationId id, std::shared_ptr<Waiting> one) {
  const bool told = co_await one->told.wait(std::chrono::steady_clock::now() + kLateWriteTimeout);
  if (!told) {
    log::warn("late_write_missing",
              {{"migration", wire::to_hex(id)},
               {"host", one->host},
               {"consequence", "the last bytes of a sleeping writer may be missing"}});
  }
  waiting_.erase(id);
  one->done();
}

Result<> LateWrites::take(const wire::MigrationId& id, const std::string& host,
                          const tcp::FreezeDelta& delta) {
  const auto it = waiting_.find(id);
  if (it == waiting_.end() || it->second->host != host || it->second->fd < 0) {
    return std::ranges::find(taken_, std::pair(id, host)) != taken_.end()
               ? Result<>()
               : fail(ENOENT, "no late write is expected for this endpoint");
  }
  auto added = tcp::apply_late_writes(it->second->fd, delta);
  if (!added) {
    log::error("late_write_failed", {{"migration", wire::to_hex(id)},
                                     {"bytes", delta.written.size()},
                                     {"error", added.error()}});
  }
  it->second->fd = -1;  // it was taken
  taken_.emplace_back(id, host);
  if (taken_.size() > kMostTaken) taken_.pop_front();
  it->second->told.set();
  return added;
}

}  // namespace sockmi::daemon
