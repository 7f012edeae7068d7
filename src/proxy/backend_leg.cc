// No byte of the client has been sent to a backend before one was connected.
#include "proxy/backend_leg.h"

#include "base/log.h"
#include "proxy/ready.h"
#include "proxy/sockets.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

asio::awaitable<Result<unique_fd>> connect_to(const Backend& backend, milliseconds timeout) {
  const StreamAddress& address = backend.config.address;
  CO_TRY_LET(socket, begin_connect(address));
  const auto ready =
      co_await wait_ready(socket.get(), Watched::Descriptor::wait_write, Clock::now() + timeout);
  if (!ready) co_return fail(ETIMEDOUT, "cannot connect to {}: no answer", to_string(address));
  CO_TRY(finish_connect(socket.get(), address));
  co_return std::move(socket);
}

void log_backend(Backend& backend, const Result<unique_fd>& connected) {
  if (!backend.set_failed(!connected)) return;
  if (connected)
    log::info("backend_recovered", {{"service", backend.service}, {"backend", backend.name}});
  else
    log::warn(
        "backend_failed",
        {{"service", backend.service}, {"backend", backend.name}, {"error", connected.error()}});
}

}  // namespace

asio::awaitable<Result<BackendLeg>> open_backend_leg(const ServicePlan& service) {
  std::vector<const Backend*> tried;
  Error last{EHOSTUNREACH, "all backends have as many connections as they may"};
  while (tried.size() < service.config.attempts) {
    BackendLeg found;
    found.lease = choose(service.backends, tried);
    if (!found.lease) break;
    tried.push_back(&*found.lease);
    auto socket = co_await connect_to(*found.lease, service.config.connect_timeout);
    log_backend(*found.lease, socket);
    if (socket) {
      found.stream = std::make_unique<PlainStream>(std::move(*socket));
      co_return std::move(found);
    }
    last = socket.error();
  }
  co_return std::unexpected(std::move(last));
}

}  // namespace sockmi::proxy
