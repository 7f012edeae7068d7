// Waits for the readiness of a socket that something else owns.
#pragma once

#include <chrono>
#include <memory>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sockmi::proxy {

using Clock = std::chrono::steady_clock;

// A socket in the event loop; its destructor takes it out of there and does not close it.
class Watched {
 public:
  using Descriptor = boost::asio::posix::stream_descriptor;
  using Wait = Descriptor::wait_type;

  Watched(const boost::asio::any_io_executor& executor, int socket)
      : descriptor_(executor, socket) {}
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  ~Watched() { forget(); }

  template <class Token>
  auto async_wait(Wait what, Token&& token) {
    return descriptor_.async_wait(what, std::forward<Token>(token));
  }
  // Ends the waits.
  void cancel() {
    boost::system::error_code ignored;
    descriptor_.cancel(ignored);
  }
  // Ends the waits, and takes the socket out of the event loop.
  void forget() { descriptor_.release(); }

 private:
  Descriptor descriptor_;
};

// Returns whether the socket became ready before the deadline.
inline boost::asio::awaitable<bool> wait_ready(int socket, Watched::Wait what,
                                               Clock::time_point deadline) {
  const auto executor = co_await boost::asio::this_coro::executor;
  // The timer's handler may run after this function has returned.
  const auto watched = std::make_shared<Watched>(executor, socket);
  boost::asio::steady_timer timer(executor, deadline);
  timer.async_wait([watched](const boost::system::error_code& error) {
    if (!error) watched->cancel();
  });
  boost::system::error_code error;
  co_await watched->async_wait(what,
                               boost::asio::redirect_error(boost::asio::use_awaitable, error));
  watched->forget();
  co_return !error;
}

}  // namespace sockmi::proxy
