// An event that happens once, for which one coroutine can wait.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sockmi::daemon {

namespace asio = boost::asio;

class Event {
 public:
  explicit Event(const asio::any_io_executor& executor)
      : timer_(executor, asio::steady_timer::time_point::max()) {}
  void set() {
    happened_ = true;
    timer_.cancel();
  }
  // Returns true if the event has happened, false if `deadline` has passed first.
  asio::awaitable<bool> wait(
      std::chrono::steady_clock::time_point deadline = asio::steady_timer::time_point::max()) {
    if (!happened_) {
      boost::system::error_code ignored;
      timer_.expires_at(deadline);
      co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return happened_;
  }

 private:
  asio::steady_timer timer_;
  bool happened_ = false;
};

inline asio::awaitable<void> sleep_for(std::chrono::milliseconds time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace sockmi::daemon
