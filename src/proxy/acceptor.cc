#include "proxy/acceptor.h"

#include "base/log.h"
#include "base/spawn.h"
#include "proxy/sockets.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// Connections that are accepted before other work is done.
constexpr int kAcceptsPerTurn = 64;
// After an error, or when all connections are used and none ends.
constexpr auto kPause = 500ms;
constexpr auto kLogInterval = 10s;

}  // namespace

Acceptor::Acceptor(asio::io_context& io, unique_fd socket, Take take)
    : io_(io),
      socket_(std::move(socket)),
      watched_(io.get_executor(), socket_.get()),
      pause_(io),
      take_(std::move(take)),
      logged_(std::chrono::steady_clock::now() - kLogInterval) {}

void Acceptor::serve(std::shared_ptr<const ListenerPlan> listener, bool access_log) {
  const bool starts = !listener_;
  listener_ = std::move(listener);
  access_log_ = access_log;
  if (starts) {
    spawn(io_, "accept_connections", run());
  } else {
    wake();
  }
}

void Acceptor::close() {
  closed_ = true;
  wake();
  watched_.forget();
  socket_.reset();
}

asio::awaitable<void> Acceptor::run() {
  const auto self = shared_from_this();
  while (!closed_) {
    boost::system::error_code error;
    co_await watched_.async_wait(Watched::Descriptor::wait_read,
                                 asio::redirect_error(asio::use_awaitable, error));
    if (!closed_ && !accept_all()) co_await pause();
  }
}

asio::awaitable<void> Acceptor::pause() {
  boost::system::error_code ignored;
  pause_.expires_after(kPause);
  co_await pause_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

// Returns false if nothing can be accepted for a while.
bool Acceptor::accept_all() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    if (!listener_->limit->acquire()) {
      log_full();
      return false;
    }
    ListenerSlot slot(listener_->limit);
    auto socket = accept_from(socket_.get());
    if (socket) {
      take_(Accepted{std::move(*socket), listener_, access_log_, std::move(slot)});
      continue;
    }
    const int code = socket.error().code;
    if (code == EAGAIN) return true;
    // Others are errors of a connection that has ended in the queue: accept(2).
    if (code != EMFILE && code != ENFILE && code != ENOBUFS && code != ENOMEM) continue;
    log_failed(socket.error());
    return false;
  }
  return true;
}

void Acceptor::log_full() {
  const auto now = std::chrono::steady_clock::now();
  if (now - logged_ < kLogInterval) return;
  logged_ = now;
  log::warn("listener_full", {{"listener", listener_->name}, {"count", listener_->limit->used()}});
}

void Acceptor::log_failed(const Error& error) {
  const auto now = std::chrono::steady_clock::now();
  if (now - logged_ < kLogInterval) return;
  logged_ = now;
  log::error("proxy_accept_failed", {{"listener", listener_->name}, {"error", error}});
}

}  // namespace sockmi::proxy
