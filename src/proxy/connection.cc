// The steps before the relay each have a time of their own, and a client that does nothing
// costs a socket and a coroutine until that time is over. What the client sends meanwhile
// stays in its socket.
#include "proxy/connection.h"

#include "base/log.h"
#include "proxy/ready.h"
#include "proxy/sockets.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Counts the connection as one of its worker, until its end.
class Counted {
 public:
  explicit Counted(Worker& worker) : worker_(&worker) {}
  Counted(Counted&& other) noexcept : worker_(std::exchange(other.worker_, nullptr)) {}
  Counted& operator=(Counted&&) = delete;
  ~Counted() {
    if (worker_) worker_->ended();
  }

 private:
  Worker* worker_;
};

// A connection to a backend.
struct Connected {
  unique_fd socket;
  Lease lease;
};

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

// Tries one backend after the other. No byte of the client has been read yet.
asio::awaitable<Result<Connected>> connect_any(const ServicePlan& service) {
  std::vector<const Backend*> tried;
  Error last{EHOSTUNREACH, "all backends have as many connections as they may"};
  while (tried.size() < service.config.attempts) {
    Connected found;
    found.lease = choose(service.backends, tried);
    if (!found.lease) break;
    tried.push_back(&*found.lease);
    auto socket = co_await connect_to(*found.lease, service.config.connect_timeout);
    log_backend(*found.lease, socket);
    if (socket) {
      found.socket = std::move(*socket);
      co_return std::move(found);
    }
    last = socket.error();
  }
  co_return std::unexpected(std::move(last));
}

RelayState state_of(const Accepted& accepted) {
  RelayState state;
  state.listener = accepted.listener->name;
  state.service = accepted.listener->service->name;
  state.client = peer_address(accepted.socket.get());
  state.local = local_address(accepted.socket.get());
  state.begun = std::chrono::system_clock::now();
  return state;
}

void log_end(const RelayState& state, std::string_view error) {
  const auto took = std::chrono::system_clock::now() - state.begun;
  log::info("connection_closed", {{"listener", state.listener},
                                  {"service", state.service},
                                  {"backend", state.backend},
                                  {"client", state.client},
                                  {"received", state.to_backend.bytes},
                                  {"sent", state.to_client.bytes},
                                  {"took", took},
                                  {"error", error}});
}

}  // namespace

asio::awaitable<void> serve(Worker& worker, Accepted accepted) {
  Counted counted(worker);
  const auto service = accepted.listener->service;
  const bool logged = accepted.access_log;
  RelayState state = state_of(accepted);
  auto connected = co_await connect_any(*service);
  if (!connected) {
    // A reset: nothing of the service has answered.
    PlainStream(std::move(accepted.socket)).reset_at_close();
    if (logged) log_end(state, connected.error().reason);
    co_return;
  }
  state.backend = connected->lease->name;
  Relay::Parts parts;
  parts.state = std::move(state);
  parts.client = std::make_unique<PlainStream>(std::move(accepted.socket));
  parts.backend = std::make_unique<PlainStream>(std::move(connected->socket));
  auto runner = std::make_shared<RelayRunner>(
      worker.io().get_executor(), std::move(parts), service->config.idle_timeout,
      [&worker, logged, counted = std::move(counted), place = std::move(accepted.place),
       lease = std::move(connected->lease)](const RelayRunner* ended, const RelayState& last,
                                            std::string_view error) {
        worker.forget(ended);
        if (logged) log_end(last, error);
      });
  worker.run(std::move(runner));
}

}  // namespace sockmi::proxy
