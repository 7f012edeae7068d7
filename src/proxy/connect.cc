#include "proxy/connect.h"

#include "proxy/sockets.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::milliseconds kConnectAgain{10};

// The queue of a Unix listener: unix(7). No event says when it has room.
bool queue_is_full(const Result<unique_fd>& begun, const StreamAddress& address) {
  return !begun && begun.error().code == EAGAIN && address.family() == AF_UNIX;
}

asio::awaitable<void> wait_a_little() {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(kConnectAgain);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace

asio::awaitable<Result<unique_fd>> connect_to(StreamAddress address, Clock::time_point deadline) {
  auto begun = begin_connect(address);
  while (queue_is_full(begun, address) && Clock::now() < deadline) {
    co_await wait_a_little();
    begun = begin_connect(address);
  }
  CO_TRY_LET(socket, std::move(begun));
  const auto ready = co_await wait_ready(socket.get(), Watched::Descriptor::wait_write, deadline);
  if (!ready) co_return fail(ETIMEDOUT, "cannot connect to {}: no answer", to_string(address));
  CO_TRY(finish_connect(socket.get(), address));
  co_return std::move(socket);
}

asio::awaitable<Result<unique_fd>> connect_to(const Backend& backend, Clock::time_point deadline) {
  auto address = backend.address();
  while (!address && address.error().code == EAGAIN && Clock::now() < deadline) {
    co_await wait_a_little();
    address = backend.address();
  }
  CO_TRY_LET(where, std::move(address));
  co_return co_await connect_to(where, deadline);
}

bool is_own_lack(int code) {
  return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM ||
         code == EADDRNOTAVAIL;
}

}  // namespace sockmi::proxy
