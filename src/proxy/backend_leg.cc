// No byte of the client has been sent to a backend before one was connected.
#include "proxy/backend_leg.h"

#include "base/log.h"
#include "proxy/ready.h"
#include "proxy/sockets.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr milliseconds kConnectAgain{10};

// A socket that has just been connected takes a header at once.
Result<> send_header(int socket, ByteView header) {
  if (header.empty()) return {};
  const auto sent = ::send(socket, header.data(), header.size(), MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(header.size())) return {};
  return sent < 0 ? fail_errno("cannot send the header of the PROXY protocol")
                  : fail(EPIPE, "the header of the PROXY protocol does not fit");
}

// The queue of a Unix listener: unix(7). No event says when it has room.
bool queue_is_full(const Result<unique_fd>& begun, const StreamAddress& address) {
  return !begun && begun.error().code == EAGAIN && address.family() == AF_UNIX;
}

asio::awaitable<void> wait_for_room() {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(kConnectAgain);
  co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<Result<unique_fd>> connect_to(const Backend& backend, const RelayState& state,
                                              milliseconds timeout) {
  const StreamAddress& address = backend.config.address;
  const auto until = Clock::now() + timeout;
  auto begun = begin_connect(address);
  while (queue_is_full(begun, address) && Clock::now() < until) {
    co_await wait_for_room();
    begun = begin_connect(address);
  }
  CO_TRY_LET(socket, std::move(begun));
  const auto ready = co_await wait_ready(socket.get(), Watched::Descriptor::wait_write, until);
  if (!ready) co_return fail(ETIMEDOUT, "cannot connect to {}: no answer", to_string(address));
  CO_TRY(finish_connect(socket.get(), address));
  const Bytes header = write_proxy_header(backend.config.proxy_protocol, state.client, state.local);
  CO_TRY(send_header(socket.get(), header));
  co_return std::move(socket);
}

// Whether the proxy lacks something, so that the error says nothing about the backend.
bool is_own_lack(int code) {
  return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM ||
         code == EADDRNOTAVAIL;
}

void log_backend(Backend& backend, const Result<unique_fd>& connected) {
  if (!connected && is_own_lack(connected.error().code)) return;
  if (!backend.set_failed(!connected)) return;
  if (connected) {
    log::info("backend_recovered", {{"service", backend.service}, {"backend", backend.name}});
  } else {
    log::warn(
        "backend_failed",
        {{"service", backend.service}, {"backend", backend.name}, {"error", connected.error()}});
  }
}

}  // namespace

asio::awaitable<Result<BackendLeg>> open_backend_leg(const ServicePlan& service,
                                                     const RelayState& state) {
  const auto client = service.config.balance == Balance::HashClient ? &state.client.ip : nullptr;
  std::vector<const Backend*> tried;
  Error last{EHOSTUNREACH, "all backends have as many connections as they may"};
  while (tried.size() < service.config.attempts) {
    BackendLeg found;
    found.lease = choose(service.backends, tried, client);
    if (!found.lease) break;
    tried.push_back(&*found.lease);
    auto socket = co_await connect_to(*found.lease, state, service.config.connect_timeout);
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
