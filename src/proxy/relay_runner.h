// Runs a relay in an event loop: waits for the readiness that the relay asks for, and
// ends a connection that has been idle for too long.
//
// The loop never does I/O by itself, it only waits. So stop() is possible at any moment:
// it cancels the waits, and what it returns is the whole connection.
//
// All calls and handlers run in one thread.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "proxy/ready.h"
#include "proxy/relay.h"

namespace sockmi::proxy {

class RelayRunner;

// `error` says why the connection ended; empty if both ends have ended it.
using OnRelayEnd = std::move_only_function<void(const RelayRunner* runner, const RelayState& state,
                                                std::string_view error)>;

// A relay that nothing runs: what its next runner needs.
struct StoppedRelay {
  StoppedRelay(Relay::Parts relay_parts, std::chrono::milliseconds timeout,
               OnRelayEnd at_end = nullptr)
      : on_end(std::move(at_end)),
        idle_timeout(timeout),
        parts(std::move(relay_parts)) {}
  StoppedRelay(StoppedRelay&&) = default;
  StoppedRelay& operator=(StoppedRelay&&) = delete;

  // Owns what the TLS of the legs uses, so that the legs end before it.
  OnRelayEnd on_end;
  std::chrono::milliseconds idle_timeout;
  Relay::Parts parts;
};

class RelayRunner : public std::enable_shared_from_this<RelayRunner> {
 public:
  RelayRunner(const boost::asio::any_io_executor& executor, StoppedRelay relay);

  // Runs it until its end, then calls `on_end`. The runner keeps itself alive.
  void start();
  // Stops at a clean point. Nothing may be called afterwards, and `on_end` is not.
  StoppedRelay stop();
  bool has_stopped() const { return stopped_; }
  const RelayState& state() { return relay_.state(); }
  const Stream& client() { return relay_.client(); }
  const Stream& backend() { return relay_.backend(); }
  // Ends the connection with a reset. A leg that has ended already just closes.
  void abort(std::string_view reason);

 private:
  struct Waits {
    Watched socket;
    bool reading = false, writing = false;
  };

  void step();
  void wait(Waits& waits, Interest interest);
  void wait(Waits& waits, bool Waits::*flag, Watched::Wait what);
  void watch_idle();
  void end(std::string_view error);
  void cancel_waits();

  OnRelayEnd on_end_;  // destroyed after the relay, as in StoppedRelay
  Relay relay_;
  Waits client_, backend_;
  boost::asio::steady_timer timer_;
  std::chrono::milliseconds idle_timeout_;
  Clock::time_point active_;
  std::uint64_t activity_ = 0;
  bool stopped_ = false;
};

}  // namespace sockmi::proxy
