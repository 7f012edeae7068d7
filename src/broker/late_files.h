// What others did to a socket in its freeze is in COMMIT alone. It is kept in a file beside the journal from before the decision until the importer has
// it, so that the daemon after this one can say it too.
//
// Nearly always there is nothing to keep. What is kept are bytes that were to go out as they are, readable for the daemon's user alone. As with the
// journal, a write(2) is enough: the daemon may die, and when the host dies the sockets do too.
#pragma once

#include "broker/journal.h"
#include "image/endpoint.h"

namespace sockmi::broker {

// Who loses COMMIT loses bytes that nobody sends again.
bool is_in_commit_alone(const image::LateT& late);

Result<> keep_late(const Journal& journal, const image::MigrationId& id, const image::LateT& late);
Result<image::LateT> kept_late(const Journal& journal, const image::MigrationId& id);  // ENOENT: nothing was kept
void drop_late(const Journal& journal, const image::MigrationId& id);
// Those of moves that were not decided.
void drop_unexplained_late(const Journal& journal);

}  // namespace sockmi::broker
