// Delays thawed endpoints on their way to the application until the late writes have
// arrived: the bytes that threads sleeping in send(2) at the exporter added after COMMIT.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "context/async_event.h"
#include "tcp/freeze_delta.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

class LateWrites {
 public:
  // An endpoint waits this long for its late writes. If the exporter dies, there will not
  // be any.
  static constexpr std::chrono::milliseconds kLateWriteTimeout{3000};

  explicit LateWrites(asio::io_context& io) : io_(io) {}
  LateWrites(const LateWrites&) = delete;

  // Waits for the late writes of an endpoint. Calls `done` once, with or without them.
  // `fd` is borrowed; `done` owns it.
  void expect(const wire::MigrationId& id, const std::string& host, int fd,
              std::function<void()> done);
  // Adds the late writes to the socket. May be repeated if the answer was lost. Errors:
  // ENOENT if they are not, or no longer, expected from `host`.
  Result<> take(const wire::MigrationId& id, const std::string& host,
                const tcp::FreezeDelta& delta);
  bool empty() const { return waiting_.empty(); }

 private:
  struct Waiting {
    Waiting(const asio::any_io_executor& executor, std::string host, int fd,
            std::function<void()> done)
        : told(executor),
          host(std::move(host)),
          fd(fd),
          done(std::move(done)) {}
    Event told;
    std::string host;
    int fd;
    std::function<void()> done;
  };
  asio::awaitable<void> wait(wire::MigrationId id, std::shared_ptr<Waiting> one);

  asio::io_context& io_;
  std::map<wire::MigrationId, std::shared_ptr<Waiting>> waiting_;
  std::deque<std::pair<wire::MigrationId, std::string>> taken_;  // the last kMostTaken ones
};

}  // namespace sockmi::daemon
