// The hand-overs between processes of this host that are under way (hand_over.h).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "applications/hand_over.h"
#include "applications/import_queue.h"

namespace sockmi::daemon {

class HandOvers {
 public:
  using Clock = std::chrono::steady_clock;
  HandOvers(asio::any_io_executor executor, ImportQueue& queue)
      : executor_(std::move(executor)),
        queue_(queue) {}
  HandOvers(const HandOvers&) = delete;

  struct Group {
    Token token;
    std::vector<ReadyEndpoint> endpoints = {};
    Result<> result = {};  // an error: it stays, and is not offered
  };
  // Offers the groups to the processes that may import them, until each has been taken,
  // or the time is over. Returns a result for each. Errors: EBUSY if a socket is offered
  // already; ENOBUFS if the import queue is full; ETIMEDOUT; ESRCH if no process can have
  // it any more; EHOSTDOWN if the daemon stops.
  asio::awaitable<std::vector<Result<>>> offer(std::vector<Group> groups, Clock::time_point until);
  // Gives back what no process can have any more. To be called from time to time.
  void give_back_unwanted();
  // Gives back everything: the daemon stops.
  void stop();
  // How many endpoints were handed over.
  std::uint64_t count() const { return count_; }

 private:
  struct Offered {
    std::shared_ptr<HandOver> what;
    std::vector<wire::MigrationId> ids;  // those with a slot
    std::vector<std::uint64_t> sockets;  // by their cookies
  };
  Result<> enter(Offered& one, const std::vector<ReadyEndpoint>& endpoints);
  void leave(const std::vector<Offered>& all);

  asio::any_io_executor executor_;
  ImportQueue& queue_;
  std::set<std::uint64_t> sockets_;  // of all that is offered
  std::set<std::shared_ptr<HandOver>> all_;
  std::uint64_t count_ = 0;
};

}  // namespace sockmi::daemon
