// The daemon's service for the relays of one listener to one service of the proxy. Both
// are in its name, so that a host which lacks one of them does not import these relays:
// the daemons find that out before anything is frozen.
#pragma once

#include "proxy/plan.h"

namespace sockmi::proxy {

struct RelayService {
  std::shared_ptr<const ListenerPlan> listener;
  std::shared_ptr<const ServicePlan> service;

  // A '/' is in no name of a listener or service.
  std::string name() const { return listener->name + "/" + service->name; }
};

// Returns those of a plan: each listener with its service, and with those of its routes.
std::vector<RelayService> relay_services(const Plan& plan);

}  // namespace sockmi::proxy
