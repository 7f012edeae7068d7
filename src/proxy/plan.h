// What the configuration says, ready for use: one plan per configuration, which never
// changes. A connection keeps the plan with which it began.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>

#include "proxy/backends.h"
#include "proxy/client_limit.h"
#include "proxy/server_names.h"
#include "proxy/tls_client.h"
#include "proxy/tls_server.h"

namespace sockmi::proxy {

struct ServicePlan {
  std::string name;
  ServiceConfig config;
  Backends backends;
  std::map<std::string, std::shared_ptr<const TlsClient>> tls;  // of backends with TLS, by name

  // Returns the application protocol for a backend without TLS; empty: none. `common`:
  // what common_protocols() returns.
  std::string preferred(const Protocols& common) const;
  // The same for what a client offers. Errors: as common_protocols().
  Result<std::string> protocol_for(const Protocols& offered) const;
};

// How many connections a listener has. Lives on from plan to plan.
class ConnectionLimit {
 public:
  explicit ConnectionLimit(std::function<void()> on_room) : on_room_(std::move(on_room)) {}

  void set_most(std::uint32_t most) { most_ = most; }
  bool acquire();
  // Counts a connection that is there already.
  void count() { ++used_; }
  // Calls `on_room` if no further connection was possible before. From any thread.
  void release();
  std::uint32_t used() const { return used_; }

 private:
  std::atomic<std::uint32_t> used_{0}, most_{0};
  std::function<void()> on_room_;
};

struct ListenerPlan {
  std::string name;
  ListenerConfig config;
  std::shared_ptr<const ServicePlan> service;
  ServerNames<std::shared_ptr<const ServicePlan>> routes;
  std::shared_ptr<const TlsServer> tls;  // with TlsMode::Terminate
  std::shared_ptr<ConnectionLimit> limit;
  std::shared_ptr<ClientLimit> clients;  // lives on from plan to plan, like `limit`

  // Returns the service of a client that asks for this server; empty: for none.
  const std::shared_ptr<const ServicePlan>& service_for(std::string_view server_name) const {
    const auto* routed = routes.find(server_name);
    return routed ? *routed : service;
  }
};

struct Plan {
  Config config;
  std::map<std::string, std::shared_ptr<const ServicePlan>> services;
  std::map<std::string, std::shared_ptr<const ListenerPlan>> listeners;
};

// Makes a plan. What is the same in `before`, which may be none, is taken from it.
// `on_room` is called when a listener that had all its connections may accept again.
Result<Plan> make_plan(Config config, const Plan& before, const std::function<void()>& on_room);

}  // namespace sockmi::proxy
