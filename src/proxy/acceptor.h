// Accepts the connections of one listening socket, and gives them to the workers.
//
// A listener with all the connections that it may have accepts none until one ends; the
// kernel's queue holds the next ones.
#pragma once

#include <functional>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "proxy/ready.h"
#include "proxy/worker.h"

namespace sockmi::proxy {

class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  using Take = std::function<void(Accepted)>;

  Acceptor(boost::asio::io_context& io, unique_fd socket, Take take);

  // Begins to accept for `listener`, or continues so.
  void serve(std::shared_ptr<const ListenerPlan> listener, bool access_log);
  // Continues after the listener's limit was reached.
  void wake() { pause_.cancel(); }
  // Ends; the socket is closed.
  void close();

 private:
  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> pause();
  bool accept_all();
  void log_full();
  void log_failed(const Error& error);

  boost::asio::io_context& io_;
  unique_fd socket_;
  Watched watched_;
  boost::asio::steady_timer pause_;
  Take take_;
  std::shared_ptr<const ListenerPlan> listener_;
  bool access_log_ = false;
  bool closed_ = false;
  std::chrono::steady_clock::time_point logged_;
};

}  // namespace sockmi::proxy
