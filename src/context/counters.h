// Counts what has happened since the daemon started, for the status.
#pragma once

#include <cstdint>

namespace sockmi::daemon {

struct Counters {
  std::uint64_t exported = 0, imported = 0, failed = 0, returned_home = 0, reset = 0;
  // Imported connections that we reasserted to their home: it had lost its record and
  // redirects them again (reasserted), or rejects them (rejected).
  std::uint64_t reasserted = 0, rejected = 0;
};

}  // namespace sockmi::daemon
