#include "proxy/plan.h"

namespace sockmi::proxy {
namespace {

std::shared_ptr<Backend> find_backend(const Plan& plan, const std::string& service,
                                      const std::string& name, const BackendConfig& config) {
  const auto found = plan.services.find(service);
  if (found == plan.services.end()) return nullptr;
  for (const auto& backend : found->second->backends)
    if (backend->name == name && backend->config == config) return backend;
  return nullptr;
}

Result<std::shared_ptr<const ServicePlan>> make_service(const std::string& name,
                                                        const ServiceConfig& config,
                                                        const Plan& before) {
  auto service = std::make_shared<ServicePlan>();
  service->name = name;
  service->config = config;
  for (const auto& [backend_name, backend] : config.backends) {
    auto kept = find_backend(before, name, backend_name, backend);
    service->backends.push_back(kept ? std::move(kept)
                                     : std::make_shared<Backend>(name, backend_name, backend));
    if (!backend.tls) continue;
    auto tls = TlsClient::make(backend);
    if (!tls) {
      return fail(tls.error().code, "service.{}.backend.{}: {}", name, backend_name,
                  tls.error().reason);
    }
    service->tls[backend_name] = std::move(*tls);
  }
  return service;
}

Result<std::shared_ptr<ListenerPlan>> make_listener(const std::string& name,
                                                    const ListenerConfig& config,
                                                    const Plan& plan) {
  auto listener = std::make_shared<ListenerPlan>();
  listener->name = name;
  listener->config = config;
  listener->service = plan.services.at(config.service);
  for (const auto& [route, target] : config.routes) {
    for (const auto& server : target.names) {
      if (!listener->routes.add(server, plan.services.at(target.service)))
        return fail(EINVAL, "listener.{}.route.{}: {} has a route already", name, route, server);
    }
  }
  if (config.tls == TlsMode::Terminate) {
    auto tls = TlsServer::make(config);
    if (!tls) return fail(tls.error().code, "listener.{}: {}", name, tls.error().reason);
    listener->tls = std::move(*tls);
  }
  return listener;
}

}  // namespace

std::string ServicePlan::preferred(const Protocols& common) const {
  return config.protocols.empty() || common.empty() ? "" : common.front();
}

Result<std::string> ServicePlan::protocol_for(const Protocols& offered) const {
  TRY_LET(common, common_protocols(config.protocols, offered));
  return preferred(common);
}

bool ConnectionLimit::acquire() {
  if (used_.fetch_add(1) < most_) return true;
  used_.fetch_sub(1);
  return false;
}

void ConnectionLimit::release() {
  if (used_.fetch_sub(1) >= most_) on_room_();
}

Result<Plan> make_plan(Config config, const Plan& before, const std::function<void()>& on_room) {
  Plan plan;
  for (const auto& [name, service] : config.services) {
    TRY_LET(made, make_service(name, service, before));
    plan.services[name] = std::move(made);
  }
  for (const auto& [name, listener] : config.listeners) {
    const auto old = before.listeners.find(name);
    auto limit = old != before.listeners.end() ? old->second->limit
                                               : std::make_shared<ConnectionLimit>(on_room);
    auto clients =
        old != before.listeners.end() ? old->second->clients : std::make_shared<ClientLimit>();
    TRY_LET(made, make_listener(name, listener, plan));
    made->limit = std::move(limit);
    made->clients = std::move(clients);
    plan.listeners[name] = std::move(made);
  }
  plan.config = std::move(config);
  return plan;
}

}  // namespace sockmi::proxy
