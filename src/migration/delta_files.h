// What others did to a socket in its freeze is in COMMIT alone. It is kept in a file of the runtime folder from before the decision until the importer has
// it, so that the daemon after this one can say it too.
//
// Nearly always there is nothing to keep. What is kept are bytes that were to go out as they are, readable for the daemon's user alone. They must not reach
// a disk, nor wait for one: the folder is in memory (tmpfs). That is enough, for when the host dies the sockets do too.
#pragma once

#include <filesystem>

#include "connections/journal.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

// Who loses COMMIT loses bytes that nobody sends again.
bool is_in_commit_alone(const wire::FreezeDeltaT& late);

Result<> keep_late(const std::filesystem::path& folder, const wire::MigrationId& id, const wire::FreezeDeltaT& late);
Result<wire::FreezeDeltaT> kept_late(const std::filesystem::path& folder, const wire::MigrationId& id);  // ENOENT: nothing was kept
void drop_late(const std::filesystem::path& folder, const wire::MigrationId& id);
// Those of moves that were not decided.
void drop_unexplained_late(const std::filesystem::path& folder, const Journal& journal);

}  // namespace sockmi::daemon
