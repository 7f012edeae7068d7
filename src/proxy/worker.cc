#include "proxy/worker.h"

#include <boost/asio/post.hpp>

#include "base/log.h"
#include "base/spawn.h"

namespace sockmi::proxy {

namespace asio = boost::asio;

namespace {

constexpr std::string_view kStops = "the proxy stops";

}  // namespace

Counted::Counted(Worker& worker) : worker_(&worker) {
  ++worker.count_;
}

Counted::~Counted() {
  if (!worker_) return;
  --worker_->count_;
  worker_->on_end_();
}

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
  asio::post(io_, [this, counted = Counted(*this), accepted = std::move(accepted)]() mutable {
    spawn(io_, "serve_connection", serve_(*this, std::move(accepted), std::move(counted)),
          OnException::EndTask);
  });
}

void Worker::add(std::move_only_function<void(Worker&, Counted)> begin) {
  asio::post(io_, [this, counted = Counted(*this), begin = std::move(begin)]() mutable {
    begin(*this, std::move(counted));
  });
}

void Worker::resume(std::shared_ptr<StoppedRelay> relay) {
  asio::post(io_, [this, relay = std::move(relay)] {
    run(std::make_shared<RelayRunner>(io_.get_executor(), std::move(*relay)));
  });
}

std::shared_ptr<void> Worker::begin_opening(std::string listener) {
  const std::uint64_t number = next_opening_++;
  openings_.emplace(number, std::move(listener));
  return {nullptr, [this, number](void*) {
            openings_.erase(number);
            if (search_) search_->cancel();
          }};
}

void Worker::find_relays(RelaySelection wanted, Clock::time_point deadline,
                         std::function<void(Found)> done) {
  asio::post(io_, [this, wanted = std::move(wanted), deadline, done = std::move(done)]() mutable {
    spawn(io_, "find_relays", search(std::move(wanted), deadline, std::move(done)));
  });
}

asio::awaitable<void> Worker::search(RelaySelection wanted, Clock::time_point deadline,
                                     std::function<void(Found)> done) {
  std::vector<std::uint64_t> before;
  for (const auto& [number, listener] : openings_)
    if (listener == wanted.listener && !wanted.is_for_one()) before.push_back(number);
  const auto opening = [&] {
    return std::ranges::count_if(before, [&](auto number) { return openings_.contains(number); });
  };
  asio::steady_timer timer(io_);
  const std::shared_ptr<void> waits(nullptr, [this](void*) { search_ = nullptr; });
  search_ = &timer;
  while (opening() > 0 && Clock::now() < deadline) {
    boost::system::error_code ignored;
    timer.expires_at(deadline);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  Found found;
  found.opening = static_cast<std::size_t>(opening());
  for (const auto& [key, runner] : runners_)
    if (const auto alive = runner.lock(); alive && wanted.has(*alive))
      found.relays.push_back(runner);
  done(std::move(found));
}

void Worker::take_relays(Relays relays, std::function<void(std::vector<StoppedRelay>)> done) {
  asio::post(io_, [this, relays = std::move(relays), done = std::move(done)] {
    std::vector<StoppedRelay> taken;
    taken.reserve(relays.size());  // nothing throws once one has stopped
    for (const auto& runner : relays) {
      const auto alive = runner.lock();
      if (!alive || alive->has_stopped()) continue;
      forget(alive.get());
      taken.push_back(alive->stop());
    }
    done(std::move(taken));
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

}  // namespace sockmi::proxy
