#include "proxy/health_checks.h"

#include "base/log.h"
#include "base/spawn.h"
#include "proxy/connect.h"

namespace sockmi::proxy {

namespace asio = boost::asio;
using std::chrono::milliseconds;

struct HealthChecks::Check {
  asio::steady_timer timer;
  std::shared_ptr<Backend> backend;
  CheckConfig config;
  milliseconds timeout, first;
  bool stopped = false;
};

namespace {

// An exception is a lack of memory or of descriptors.
asio::awaitable<Result<>> try_to_connect(const Backend& backend, milliseconds timeout) {
  try {
    CO_TRY_LET(socket, co_await connect_to(backend, Clock::now() + timeout));
    co_return Result<>();
  } catch (const std::exception& thrown) {
    co_return fail(ENOMEM, "cannot check: {}", thrown.what());
  }
}

void note_check_of(Backend& backend, const CheckConfig& config, const Result<>& found) {
  if (!found && is_own_lack(found.error().code)) return;
  if (!backend.note_check(found.has_value(), config)) return;
  if (found) {
    log::info("backend_up", {{"service", backend.service}, {"backend", backend.name}});
  } else {
    log::warn("backend_down",
              {{"service", backend.service}, {"backend", backend.name}, {"error", found.error()}});
  }
}

}  // namespace

asio::awaitable<void> HealthChecks::run(std::shared_ptr<Check> check) {
  auto next = Clock::now() + check->first;
  for (;;) {
    boost::system::error_code ignored;
    check->timer.expires_at(next);
    co_await check->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (check->stopped) co_return;
    next = Clock::now() + check->config.interval;
    const Result<> found = co_await try_to_connect(*check->backend, check->timeout);
    if (check->stopped) co_return;
    note_check_of(*check->backend, check->config, found);
  }
}

void HealthChecks::use(const Plan& plan) {
  stop();
  for (const auto& [name, service] : plan.services) {
    const ServiceConfig& config = service->config;
    for (const auto& backend : service->backends) {
      if (config.check.interval == milliseconds(0)) {
        backend->forget_checks();
      } else {
        checks_.push_back(std::make_shared<Check>(asio::steady_timer(io_), backend, config.check,
                                                  config.connect_timeout, milliseconds(0)));
      }
    }
  }
  for (std::size_t i = 0; i < checks_.size(); ++i) {
    Check& check = *checks_[i];
    check.first = check.config.interval * i / checks_.size();
    spawn(io_, "check_backend", run(checks_[i]), OnException::EndTask);
  }
}

void HealthChecks::stop() {
  for (const auto& check : checks_) {
    check->stopped = true;
    check->timer.cancel();
  }
  checks_.clear();
}

}  // namespace sockmi::proxy
