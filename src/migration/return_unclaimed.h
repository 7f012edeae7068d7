// Returns imported endpoints that no application has taken to their home: immediately if
// no application here can have them, otherwise after import.wait_ms. A home that does not
// answer, or that refuses, is asked again for the same time once more. Then the endpoint
// goes to any host that accepts it. If there is none, the connection is reset, so that
// the peer learns of it.
#pragma once

#include "applications/deliveries.h"
#include "applications/hand_overs.h"
#include "migration/exports.h"
#include "migration/importer.h"

namespace sockmi::daemon {

// Runs until the daemon ends.
asio::awaitable<void> return_unclaimed(Exports& exports, Deliveries& deliveries,
                                       HandOvers& hand_overs);

// For a daemon that stops, when it begins nothing new any more (Services::stopping).
// Waits, within a bound, until operations in progress have ended, and until there is no
// endpoint here that would end with the daemon.
asio::awaitable<void> finish_moves(Exports& exports, Deliveries& deliveries,
                                   const Importer& importer);

}  // namespace sockmi::daemon
