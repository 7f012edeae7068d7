// All of a daemon's memory and its conversation with other daemons, wired together.
#pragma once

#include "broker/arrival.h"
#include "broker/export_requests.h"
#include "broker/migration.h"
#include "broker/takeover.h"
#include "broker/world.h"

namespace sockmi::broker {

class Broker {
 public:
  struct Config {
    Settings settings;
    Policy policy;
    Maxima maxima;
    std::filesystem::path state_folder;
    peer::NegotiationConfig negotiation;
    std::shared_ptr<Guard> guard;
  };
  static Result<std::unique_ptr<Broker>> open(asio::io_context& io, Config config, const peer::Identity& identity);

  World& world() { return world_; }
  ExportRequests& export_requests() { return export_requests_; }
  Takeovers& takeovers() { return takeovers_; }

  // Before the last one goes: lets come to its end what can in a second. What lives on keeps its rules in the kernel; the next daemon adopts it.
  asio::awaitable<void> wind_up();

 private:
  Broker(asio::io_context& io, Config& config, Journal journal)
      : world_(io, config.settings, std::move(config.policy), config.maxima, std::move(journal)), arrivals_(world_),
        export_requests_(io.get_executor()), takeovers_(world_, export_requests_) {}
  asio::awaitable<Secret> answer(std::string host, Secret message);

  World world_;
  Arrivals arrivals_;
  ExportRequests export_requests_;
  Takeovers takeovers_;
};

}  // namespace sockmi::broker
