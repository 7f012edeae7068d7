// What all exports have in common.
#pragma once

#include <cstddef>
#include <memory>
#include <set>

#include "applications/import_queue.h"
#include "connections/connections.h"
#include "migration/crash_guard.h"
#include "tcp/sequences.h"

namespace sockmi::daemon {

struct Exports {
  Exports(Connections& connections, ImportQueue& import_queue)
      : services(connections.services),
        table(connections.table),
        connections(connections),
        import_queue(import_queue) {}
  Exports(const Exports&) = delete;

  const Services& services;
  ConnectionTable& table;
  Connections& connections;
  ImportQueue& import_queue;          // for what a listener accepted here and cannot take along
  std::shared_ptr<CrashGuard> guard;  // none in tests
  tcp::Histories histories;           // of sockets whose export has failed
  // Between PREPARE and the decision. An importer that asks about one of them has to
  // wait.
  std::set<wire::MigrationId> undecided;
  std::size_t under_way = 0;  // calls of export_endpoints()
};

}  // namespace sockmi::daemon
