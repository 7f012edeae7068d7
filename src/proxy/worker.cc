#include "proxy/worker.h"

#include <boost/asio/post.hpp>

#include "base/log.h"
#include "base/spawn.h"

namespace sockmi::proxy {

namespace asio = boost::asio;

namespace {

constexpr std::string_view kStops = "the proxy stops";

}  // namespace

Worker::Worker(Serve serve, std::function<void()> on_end)
    : serve_(serve),
      on_end_(std::move(on_end)),
      work_(asio::make_work_guard(io_)) {}

Worker::~Worker() {
  stop();
}

void Worker::start() {
  thread_ = std::thread([this] { run_loop(); });
}

void Worker::run_loop() {
  for (;;) {
    try {
      io_.run();
      return;
    } catch (...) {
      log::critical("task_failed",
                    {{"task", "serve_events"}, {"error", describe(std::current_exception())}});
    }
  }
}

void Worker::stop() {
  io_.stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::add(Accepted accepted) {
  ++count_;
  asio::post(io_, [this, accepted = std::move(accepted)]() mutable {
    spawn(io_, "serve_connection", serve_(*this, std::move(accepted)), OnException::EndTask);
  });
}

void Worker::abort_all(std::function<void()> done) {
  asio::post(io_, [this, done = std::move(done)] {
    aborted_ = true;
    const auto runners = std::exchange(runners_, {});
    for (const auto& [key, runner] : runners)
      if (const auto alive = runner.lock()) alive->abort(kStops);
    done();
  });
}

void Worker::run(std::shared_ptr<RelayRunner> runner) {
  if (aborted_) return runner->abort(kStops);
  runners_[runner.get()] = runner;
  runner->start();
}

void Worker::ended() {
  --count_;
  on_end_();
}

}  // namespace sockmi::proxy
