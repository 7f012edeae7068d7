// Endpoints that have thawed, and that no application gets yet: what others wrote to the exporter's socket until its very end comes first.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "context/async_event.h"
#include "wire/control_messages.h"
#include "tcp/freeze_delta.h"

namespace sockmi::daemon {

class LateWrites {
 public:
  // So long an endpoint waits; an exporter that dies now has nothing more to say.
  static constexpr std::chrono::milliseconds kLateWriteTimeout{3000};

  explicit LateWrites(asio::io_context& io) : io_(io) {}
  LateWrites(const LateWrites&) = delete;

  // `done` is called once, with or without a rest; it owns the descriptor, which is borrowed here.
  void expect(const wire::MigrationId& id, const std::string& host, int fd, std::function<void()> done);
  // Also once more, if the answer was lost. ENOENT: it is not, or no longer, waited for.
  Result<> take(const wire::MigrationId& id, const std::string& host, const tcp::FreezeDelta& rest);
  bool empty() const { return waiting_.empty(); }

 private:
  struct Waiting {
    Waiting(const asio::any_io_executor& executor, std::string host, int fd, std::function<void()> done)
        : told(executor), host(std::move(host)), fd(fd), done(std::move(done)) {}
    Event told;
    std::string host;
    int fd;
    std::function<void()> done;
  };
  asio::awaitable<void> wait(wire::MigrationId id, std::shared_ptr<Waiting> one);

  asio::io_context& io_;
  std::map<wire::MigrationId, std::shared_ptr<Waiting>> waiting_;
  std::deque<std::pair<wire::MigrationId, std::string>> taken_;  // the last ones
};

}  // namespace sockmi::daemon
