// One thread with an event loop, and the connections that it has. A connection stays with
// its worker until its end, so that nothing of it needs a lock.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <thread>
#include <unordered_map>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "proxy/plan.h"
#include "proxy/relay_selection.h"

namespace sockmi::proxy {

// One connection of a listener's count.
class ListenerSlot {
 public:
  explicit ListenerSlot(std::shared_ptr<ConnectionLimit> taken) : limit_(std::move(taken)) {}
  ListenerSlot(ListenerSlot&&) = default;
  ListenerSlot& operator=(ListenerSlot&&) = delete;
  ~ListenerSlot() {
    if (limit_) limit_->release();
  }

 private:
  std::shared_ptr<ConnectionLimit> limit_;
};

class Worker;

// Counts a connection as one of its worker, until its end.
class Counted {
 public:
  explicit Counted(Worker& worker);
  Counted(Counted&& other) noexcept : worker_(std::exchange(other.worker_, nullptr)) {}
  Counted& operator=(Counted&&) = delete;
  ~Counted();

 private:
  Worker* worker_;
};

// A connection that a listener has accepted.
struct Accepted {
  unique_fd socket;
  std::shared_ptr<const ListenerPlan> listener;
  bool access_log = false;
  ListenerSlot slot;
};

class Worker {
 public:
  // Serves a connection that the worker got.
  using Serve = boost::asio::awaitable<void> (*)(Worker&, Accepted, Counted);

  // `on_end` is called in the worker's thread after the end of each connection.
  Worker(Serve serve, std::function<void()> on_end);
  ~Worker();

  // Runs the loop in a thread of its own.
  void start();
  // Runs the loop until stop(). An exception of a handler ends what it did, and is
  // logged.
  void run_loop();
  // Ends the loop, and the thread if there is one. Destroys what is left.
  void stop();
  // Takes a connection. From any thread.
  void add(Accepted accepted);
  // Takes a connection that `begin` will run, in the worker's thread. From any thread.
  void add(std::move_only_function<void(Worker&, Counted)> begin);
  // Continues a relay of this worker. From any thread. If it throws, the relay is as
  // before.
  void resume(std::shared_ptr<StoppedRelay> relay);

  using Relays = std::vector<std::weak_ptr<RelayRunner>>;
  struct Found {
    Relays relays;            // to be passed to take_relays()
    std::size_t opening = 0;  // connections of the listener that are no relays yet
  };
  // Finds relays. Before that, unless only one is wanted, waits until the connections
  // which the listener has accepted are relays, or until the deadline. One search at a
  // time. From any thread; `done` is called in the worker's, or destroyed without a call
  // if there is no memory.
  void find_relays(RelaySelection wanted, Clock::time_point deadline,
                   std::function<void(Found)> done);
  // Stops those relays that have not ended. From any thread; `done` as above.
  void take_relays(Relays relays, std::function<void(std::vector<StoppedRelay>)> done);
  // Ends all relays with a reset, also those that begin later, then calls `done`. From
  // any thread.
  void abort_all(std::function<void()> done);
  std::size_t connections() const { return count_; }
  boost::asio::io_context& io() { return io_; }

  // For what serves a connection, in the worker's thread.
  void run(std::shared_ptr<RelayRunner> runner);
  void forget(const RelayRunner* runner) { runners_.erase(runner); }
  // A connection is on its way to become a relay as long as what is returned lives.
  std::shared_ptr<void> begin_opening(std::string listener);

 private:
  friend class Counted;
  boost::asio::awaitable<void> search(RelaySelection wanted, Clock::time_point deadline,
                                      std::function<void(Found)> done);

  Serve serve_;
  std::function<void()> on_end_;
  std::atomic<std::size_t> count_{0};
  std::unordered_map<const RelayRunner*, std::weak_ptr<RelayRunner>> runners_;
  std::map<std::uint64_t, std::string> openings_;  // their listeners
  std::uint64_t next_opening_ = 0;
  boost::asio::steady_timer* search_ = nullptr;  // of the search that waits
  bool aborted_ = false;                         // a relay that begins now ends immediately
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace sockmi::proxy
