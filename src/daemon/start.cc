#include "daemon/start.h"

#include <set>

#include "migration/frozen_sockets.h"
#include "migration/orphaned_sockets.h"

namespace sockmi::daemon {

Result<> adopt_sockets(Exports& exports, Importer& importer) {
  TRY_LET(sockets, sockets_everywhere(exports.services));
  std::set<std::uint64_t> alive;
  for (const auto& [cookie, socket] : sockets) {
    // Without an inode no application has the socket: it ended with the daemon that had
    // it.
    if (socket.inode != 0) alive.insert(cookie);
  }
  importer.adopt(alive);
  adopt_orphans(exports, sockets);
  return {};
}

}  // namespace sockmi::daemon
