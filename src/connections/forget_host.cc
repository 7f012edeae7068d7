#include "connections/forget_host.h"

#include "base/log.h"
#include "connections/redirects.h"

namespace sockmi::daemon {

// The coroutines that still notify this host (home_protocol.cc) find that there is
// nothing left to report, and end.
Forgotten forget_host(World& world, const std::string& host) {
  Forgotten out;
  for (const auto& [number, resident] : world.journal.pending_ends()) {
    if (resident.home != host) continue;
    world.journal.told(number);
    ++out.untold;
  }
  for (auto it = world.away.begin(); it != world.away.end();) {
    const auto [tuple, away] = *it;
    const bool held = away.home == world.settings.host && away.host == host;
    if (away.home != host && !held) {
      ++it;
      continue;
    }
    ++(held ? out.held : out.forwarded);
    // Packets in transit are redirected for a moment longer.
    if (auto done = redirect(world, tuple, away, milliseconds(1000)); !done)
      log::error("event=redirect_left connection={} error=\"{}\"", to_string(tuple),
                 to_string(done.error()));
    it = world.away.erase(it);
    world.journal.is_back(tuple);
  }
  world.silent.erase(host);
  log::warn("event=host_forgotten host={} untold={} forwarded={} held={}", host, out.untold,
            out.forwarded, out.held);
  return out;
}

}  // namespace sockmi::daemon
