#include "proxy/server.h"

#include <csignal>
#include <cstdlib>

#include <boost/asio/post.hpp>

#include "base/log.h"
#include "proxy/connection.h"
#include "proxy/sockets.h"

namespace sockmi::proxy {

namespace asio = boost::asio;

namespace {

// V6ONLY means nothing for the sockets of other families.
std::pair<StreamAddress, bool> key_of(const StreamAddress& address, const ListenerPlan& listener) {
  return {address, address.family() == AF_INET6 && listener.config.v6only};
}

void close_all(const std::vector<std::shared_ptr<Acceptor>>& acceptors) {
  for (const auto& acceptor : acceptors)
    acceptor->close();
}

}  // namespace

Server::~Server() {
  closing_ = true;
  moves_.reset();
  for (auto& worker : workers_)
    worker->stop();
}

Result<> Server::start() {
  TRY_LET(config, read_());
  // Before there are threads.
  activation_ = Activation::take();
  if (!config.moves.socket.empty())
    (void)::setenv("SOCKMID_SOCKET", config.moves.socket.c_str(), /*overwrite=*/1);
  const unsigned threads =
      config.threads ? config.threads : std::max(1u, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < threads; ++i)
    workers_.push_back(std::make_unique<Worker>(serve, [this] { on_connection_end(); }));
  checks_ = std::make_unique<HealthChecks>(workers_[0]->io());
  TRY(use(std::move(config)));
  for (std::size_t i = 1; i < workers_.size(); ++i)
    workers_[i]->start();
  signals_ = std::make_unique<asio::signal_set>(workers_[0]->io(), SIGHUP, SIGTERM, SIGINT);
  await_signal();
  return {};
}

void Server::run() {
  if (plan_.config.moves.enabled) begin_moves();
  workers_[0]->run_loop();
}

void Server::begin_moves() {
  moves_ = std::make_unique<Moves>(workers_, [this](const RelayService& service, auto parts) {
    adopt(service, std::move(parts));
  });
  moves_->use(relay_services(plan_));
}

Result<std::vector<unique_fd>> Server::open(const StreamAddress& address,
                                            const ListenerConfig& listener) const {
  if (!address.activated.empty()) return activation_.sockets(address.activated);
  TRY_LET(socket, open_listener(address, listener.v6only, listener.backlog));
  std::vector<unique_fd> one;
  one.push_back(std::move(socket));
  return one;
}

// Either all of the configuration is in force afterwards, or nothing of it.
Result<> Server::use(Config config) {
  TRY_LET(plan, make_plan(std::move(config), plan_, [this] { on_room(); }));
  decltype(acceptors_) acceptors;
  for (const auto& [name, listener] : plan.listeners) {
    for (const auto& address : listener->config.addresses) {
      const auto key = key_of(address, *listener);
      if (const auto old = acceptors_.find(key); old != acceptors_.end()) {
        acceptors[key] = old->second;
        continue;
      }
      TRY_LET(sockets, open(address, listener->config));
      for (unique_fd& socket : sockets) {
        acceptors[key].push_back(
            std::make_shared<Acceptor>(workers_[0]->io(), std::move(socket),
                                       [this](Accepted accepted) { take(std::move(accepted)); }));
      }
    }
  }
  for (const auto& [key, old] : acceptors_)
    if (!acceptors.contains(key)) close_all(old);
  acceptors_ = std::move(acceptors);
  for (const auto& [name, listener] : plan.listeners) {
    listener->limit->set_most(listener->config.max_connections);
    for (const auto& address : listener->config.addresses) {
      for (const auto& acceptor : acceptors_.at(key_of(address, *listener)))
        acceptor->serve(listener, plan.config.access_log);
    }
  }
  plan_ = std::move(plan);
  access_log_ = plan_.config.access_log;
  names_.use(plan_);
  checks_->use(plan_);
  if (moves_) moves_->use(relay_services(plan_));
  return {};
}

// Without memory, for instance, everything remains as it was.
Result<> Server::use_new_config() {
  try {
    TRY_LET(config, read_());
    return use(std::move(config));
  } catch (const std::exception& thrown) {
    return fail(ENOMEM, "cannot use the configuration: {}", thrown.what());
  }
}

void Server::reload() {
  const auto used = use_new_config();
  if (used) {
    log::info("configuration_reloaded", {{"count", listeners()}});
  } else {
    log::error("configuration_refused", {{"error", used.error()}});
  }
}

void Server::await_signal() {
  signals_->async_wait([this](const boost::system::error_code& error, int number) {
    if (error) return;
    if (number == SIGHUP && !stopping_) {
      reload();
    } else if (number != SIGHUP && !stopping_) {
      begin_stop();
    } else if (number != SIGHUP) {
      cut();
    }
    await_signal();
  });
}

void Server::begin_stop() {
  stopping_ = true;
  for (const auto& [key, each] : acceptors_)
    close_all(each);
  acceptors_.clear();
  names_.stop();
  checks_->stop();
  if (moves_) moves_->use({});
  log::info("proxy_stopping", {{"count", connections()}});
  stop_timer_ = std::make_unique<asio::steady_timer>(workers_[0]->io(), plan_.config.stop_timeout);
  stop_timer_->async_wait([this](const boost::system::error_code& error) {
    if (!error) cut();
  });
  on_connection_end();
}

// Ends what is left: connections that are relayed with a reset, so that no peer takes
// this for the end of its data.
void Server::cut() {
  if (const auto left = connections(); left > 0) log::warn("connections_cut", {{"count", left}});
  auto waiting = std::make_shared<std::atomic<std::size_t>>(workers_.size());
  for (auto& worker : workers_) {
    worker->abort_all([this, waiting] {
      if (--*waiting == 0) workers_[0]->io().stop();
    });
  }
}

Worker& Server::least_busy() {
  return **std::ranges::min_element(workers_, {},
                                    [](const auto& worker) { return worker->connections(); });
}

void Server::take(Accepted accepted) {
  least_busy().add(std::move(accepted));
}

// In the thread of the moves.
void Server::adopt(const RelayService& service, Relay::Parts parts) {
  StoppedRelay relay(std::move(parts), service.service->config.idle_timeout);
  ImportedRelay imported{service.listener, service.service, std::move(relay)};
  least_busy().add([this, imported = std::move(imported)](Worker& worker, Counted counted) mutable {
    continue_imported(worker, std::move(imported), std::move(counted), access_log_);
  });
}

std::size_t Server::connections() const {
  std::size_t all = 0;
  for (const auto& worker : workers_)
    all += worker->connections();
  return all;
}

// In the thread of any worker.
void Server::on_connection_end() {
  if (stopping_ && !closing_ && connections() == 0) workers_[0]->io().stop();
}

void Server::on_room() {
  if (closing_) return;
  asio::post(workers_[0]->io(), [this] {
    for (const auto& [key, each] : acceptors_)
      for (const auto& acceptor : each)
        acceptor->wake();
  });
}

}  // namespace sockmi::proxy
