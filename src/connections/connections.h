// What the modules above use of this one.
#pragma once

#include "connections/foreign_rules.h"
#include "connections/home_protocol.h"
#include "connections/table.h"
#include "context/services.h"

namespace sockmi::daemon {

struct Connections {
  Connections(const Services& services, Journal journal)
      : services(services),
        table(std::move(journal), services.settings.host, services.settings.control_address()),
        rules(services),
        homes(services, table, rules) {}
  Connections(const Connections&) = delete;

  const Services& services;
  ConnectionTable table;
  ForeignRules rules;
  HomeProtocol homes;
};

}  // namespace sockmi::daemon
