// Lists the connections of this host with other hosts, of which a drain moves those that
// applications hold.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "applications/import_queue.h"
#include "connections/connections.h"

namespace sockmi::daemon {

struct LocalConnection {
  std::uint64_t cookie = 0;
  FourTuple tuple;  // unmapped
  std::uint32_t uid = 0;
  std::uint32_t inode = 0;
  std::string service;  // of an imported connection; "": not known
  bool imported = false;
};

// Excludes connections that no process has, those of this daemon, and those with this
// host itself.
Result<std::vector<LocalConnection>> local_connections(const Connections& connections,
                                                       const ImportQueue& import_queue);

}  // namespace sockmi::daemon
