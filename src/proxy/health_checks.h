// Checks regularly whether the backends can be connected, so that a backend that is down
// gets no clients before one of them has waited for it.
//
// A check is a connection that ends without a byte. A backend is checked by one
// connection at a time; the first checks of a plan are spread over the interval.
#pragma once

#include <memory>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "proxy/plan.h"

namespace sockmi::proxy {

class HealthChecks {
 public:
  explicit HealthChecks(boost::asio::io_context& io) : io_(io) {}
  ~HealthChecks() { stop(); }
  HealthChecks(const HealthChecks&) = delete;

  // Checks the backends of this plan from now on, and no others. Here and below: in the
  // thread of the loop, or while it does not run.
  void use(const Plan& plan);
  void stop();

 private:
  struct Check;
  static boost::asio::awaitable<void> run(std::shared_ptr<Check> check);

  boost::asio::io_context& io_;
  std::vector<std::shared_ptr<Check>> checks_;
};

}  // namespace sockmi::proxy
