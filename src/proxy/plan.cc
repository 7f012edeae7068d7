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
    auto made = std::make_shared<ListenerPlan>();
    made->name = name;
    made->config = listener;
    made->service = plan.services.at(listener.service);
    const auto old = before.listeners.find(name);
    made->limit = old != before.listeners.end() ? old->second->limit
                                                : std::make_shared<ConnectionLimit>(on_room);
    plan.listeners[name] = std::move(made);
  }
  plan.config = std::move(config);
  return plan;
}

}  // namespace sockmi::proxy
