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

std::shared_ptr<const ServicePlan> make_service(const std::string& name,
                                                const ServiceConfig& config, const Plan& before) {
  auto service = std::make_shared<ServicePlan>();
  service->name = name;
  service->config = config;
  for (const auto& [backend_name, backend] : config.backends) {
    auto kept = find_backend(before, name, backend_name, backend);
    service->backends.push_back(kept ? std::move(kept)
                                     : std::make_shared<Backend>(name, backend_name, backend));
  }
  return service;
}

Result<std::shared_ptr<const ListenerPlan>> make_listener(const std::string& name,
                                                          const ListenerConfig& config,
                                                          const Plan& plan,
                                                          std::shared_ptr<ConnectionLimit> limit) {
  auto listener = std::make_shared<ListenerPlan>();
  listener->name = name;
  listener->config = config;
  listener->limit = std::move(limit);
  listener->service = plan.services.at(config.service);
  for (const auto& [route, target] : config.routes) {
    for (const auto& server : target.names) {
      if (!listener->routes.add(server, plan.services.at(target.service)))
        return fail(EINVAL, "listener.{}.route.{}: {} has a route already", name, route, server);
    }
  }
  if (config.tls == TlsMode::Terminate) {
    // The plan of the listener owns its TlsServer.
    const auto protocols = [plan = listener.get()](std::string_view server) -> const auto& {
      return plan->service_for(server)->config.protocols;
    };
    auto tls = TlsServer::make(config, protocols);
    if (!tls) return fail(tls.error().code, "listener.{}: {}", name, tls.error().reason);
    listener->tls = std::move(*tls);
  }
  return listener;
}

}  // namespace

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
  for (const auto& [name, service] : config.services)
    plan.services[name] = make_service(name, service, before);
  for (const auto& [name, listener] : config.listeners) {
    const auto old = before.listeners.find(name);
    auto limit = old != before.listeners.end() ? old->second->limit
                                               : std::make_shared<ConnectionLimit>(on_room);
    TRY_LET(made, make_listener(name, listener, plan, std::move(limit)));
    plan.listeners[name] = std::move(made);
  }
  plan.config = std::move(config);
  return plan;
}

}  // namespace sockmi::proxy
