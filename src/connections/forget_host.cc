#include "connections/forget_host.h"

#include "base/log.h"
#include "connections/redirects.h"

namespace sockmi::daemon {

// The coroutines that still notify this host (home_notices.cc) find that there is
// nothing left to report, and end.
Forgotten forget_host(Connections& connections, const std::string& host) {
  Forgotten out;
  for (const auto& [number, imported] : connections.table.journal().pending_ends()) {
    if (imported.home != host) continue;
    connections.table.end_notice(number);
    ++out.pending_ends;
  }
  const auto remote = connections.table.remote();  // a copy: it changes meanwhile
  for (const auto& [tuple, away] : remote) {
    const bool held = away.home == connections.services.settings.host && away.host == host;
    if (away.home != host && !held) continue;
    ++(held ? out.held : out.forwarded);
    // Packets in transit are redirected for a moment longer.
    if (auto done =
            redirect(connections.services, connections.table, tuple, away, milliseconds(1000));
        !done)
      log::error("redirect_remove_failed", {{"connection", tuple}, {"error", done.error()}});
    connections.table.mark_returned(tuple);
  }
  connections.homes.forget_unreachable(host);
  log::warn("host_forgotten", {{"host", host},
                               {"pending_ends", out.pending_ends},
                               {"forwarded", out.forwarded},
                               {"moved", out.held}});
  return out;
}

}  // namespace sockmi::daemon
