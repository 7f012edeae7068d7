// Keeps, in files, the part of a freeze delta that only COMMIT carries: what other
// threads and processes did to a socket during its freeze. A file exists from before the
// decision until the importer has the delta, so that the daemon after this one can send
// it as well.
//
// Nearly always there is nothing to keep. A file contains bytes as the application wrote
// them, readable by the daemon's user only. They must not reach a disk, nor wait for one,
// so the folder is in memory (tmpfs): check_runtime_folder(). That is sufficient, because
// the sockets end with the host as well.
#pragma once

#include <filesystem>

#include "connections/journal.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

// Checks that files in `folder` stay in memory. Errors: ENOTSUP if its file system is
// neither tmpfs nor ramfs; that of statfs(2).
Result<> check_runtime_folder(const std::filesystem::path& folder);

// True if nobody sends the data of `delta` again when COMMIT is lost.
bool is_in_commit_alone(const wire::FreezeDeltaT& delta);

Result<> keep_delta(const std::filesystem::path& folder, const wire::MigrationId& id,
                    const wire::FreezeDeltaT& delta);
// Errors: ENOENT if nothing was kept.
Result<wire::FreezeDeltaT> kept_delta(const std::filesystem::path& folder,
                                      const wire::MigrationId& id);
void drop_delta(const std::filesystem::path& folder, const wire::MigrationId& id);
// Removes the files of migrations that were not decided. Removes none while the journal
// may lack decisions.
void drop_unexplained_deltas(const std::filesystem::path& folder, const Journal& journal);

}  // namespace sockmi::daemon
