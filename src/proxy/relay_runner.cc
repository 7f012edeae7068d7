#include "proxy/relay_runner.h"

#include <boost/asio/post.hpp>

namespace sockmi::proxy {

namespace asio = boost::asio;
using std::chrono::milliseconds;

RelayRunner::RelayRunner(const asio::any_io_executor& executor, StoppedRelay relay)
    : on_end_(std::move(relay.on_end)),
      relay_(std::move(relay.parts)),
      client_{{executor, relay_.client().fd()}},
      backend_{{executor, relay_.backend().fd()}},
      timer_(executor),
      idle_timeout_(relay.idle_timeout) {
  // A connection that came from elsewhere has a part of its idle time left.
  const auto left = relay_.state().idle_left;
  active_ = Clock::now() - (left > milliseconds(0) && left < idle_timeout_ ? idle_timeout_ - left
                                                                           : milliseconds(0));
}

void RelayRunner::start() {
  watch_idle();
  step();
}

void RelayRunner::step() {
  if (stopped_) return;
  const auto progress = relay_.step();
  if (relay_.activity() != activity_) {
    activity_ = relay_.activity();
    active_ = Clock::now();
  }
  switch (progress) {
    case Relay::Progress::Waiting:
      wait(client_, relay_.client_interest());
      wait(backend_, relay_.backend_interest());
      return;
    case Relay::Progress::More:
      asio::post(timer_.get_executor(), [self = shared_from_this()] { self->step(); });
      return;
    case Relay::Progress::Finished:
    case Relay::Progress::Failed: return end(relay_.error().reason);
  }
}

void RelayRunner::wait(Waits& waits, Interest interest) {
  if (interest.read) wait(waits, &Waits::reading, Watched::Descriptor::wait_read);
  if (interest.write) wait(waits, &Waits::writing, Watched::Descriptor::wait_write);
}

void RelayRunner::wait(Waits& waits, bool Waits::*flag, Watched::Wait what) {
  if (waits.*flag) return;
  waits.*flag = true;
  waits.socket.async_wait(
      what, [self = shared_from_this(), &waits, flag](const boost::system::error_code& error) {
        waits.*flag = false;
        if (!error) self->step();
      });
}

// Bytes that pass do not touch the timer: it looks when it expires.
void RelayRunner::watch_idle() {
  timer_.expires_at(active_ + idle_timeout_);
  timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->stopped_) return;
    if (Clock::now() < self->active_ + self->idle_timeout_) {
      self->watch_idle();
    } else {
      self->abort("idle for too long");
    }
  });
}

void RelayRunner::abort(std::string_view reason) {
  if (!stopped_) end(reason);
}

void RelayRunner::end(std::string_view error) {
  cancel_waits();
  const RelayState last = std::move(relay_).take().state;  // the sockets are closed
  auto on_end = std::move(on_end_);
  on_end(this, last, error);
}

StoppedRelay RelayRunner::stop() {
  cancel_waits();
  const auto idle = std::chrono::duration_cast<milliseconds>(Clock::now() - active_);
  relay_.state().idle_left = std::max(idle_timeout_ - idle, milliseconds(1));
  return {std::move(relay_).take(), idle_timeout_, std::move(on_end_)};
}

// The sockets belong to the streams.
void RelayRunner::cancel_waits() {
  stopped_ = true;
  timer_.cancel();
  client_.socket.forget();
  backend_.socket.forget();
}

}  // namespace sockmi::proxy
