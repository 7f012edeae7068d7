// The proxy as a whole: listening sockets, workers, and the plan in force.
//
// The thread of the first worker also accepts connections and serves signals. A new
// configuration is for new connections; those that live keep what they began with.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include <boost/asio/signal_set.hpp>

#include "proxy/acceptor.h"
#include "proxy/activation.h"
#include "proxy/health_checks.h"
#include "proxy/moves.h"
#include "proxy/name_watch.h"
#include "proxy/worker.h"

namespace sockmi::proxy {

class Server {
 public:
  using ReadConfig = std::function<Result<Config>()>;

  // `read` is called now, and at each SIGHUP.
  explicit Server(ReadConfig read) : read_(std::move(read)) {}
  ~Server();

  // Opens all listeners, or none.
  Result<> start();
  // Serves until SIGTERM or SIGINT, and then until the connections have ended, or their
  // time is over.
  void run();

  const Config& config() const { return plan_.config; }
  std::size_t threads() const { return workers_.size(); }
  std::size_t listeners() const { return acceptors_.size(); }

 private:
  Result<> use(Config config);
  Result<std::vector<unique_fd>> open(const StreamAddress& address,
                                      const ListenerConfig& listener) const;
  Result<> use_new_config();
  void reload();
  void await_signal();
  void begin_stop();
  void cut();
  void begin_moves();
  void take(Accepted accepted);
  void adopt(const RelayService& service, Relay::Parts parts);
  Worker& least_busy();
  std::size_t connections() const;
  void on_connection_end();
  void on_room();

  ReadConfig read_;
  Activation activation_;
  std::atomic<bool> stopping_{false}, closing_{false};
  std::vector<std::unique_ptr<Worker>> workers_;
  Plan plan_;
  // V6ONLY belongs to the socket, so a change of it needs another one.
  // Systemd may have opened several sockets of one name.
  std::map<std::pair<StreamAddress, bool>, std::vector<std::shared_ptr<Acceptor>>> acceptors_;
  std::unique_ptr<HealthChecks> checks_;
  NameWatch names_{look_up};
  std::unique_ptr<boost::asio::signal_set> signals_;
  std::unique_ptr<boost::asio::steady_timer> stop_timer_;
  std::atomic<bool> access_log_{false};
  std::unique_ptr<Moves> moves_;  // none: the relays stay here
};

}  // namespace sockmi::proxy
