// Endpoints that came here and that no application has taken go back to where they belong: at once where nobody here can have them, else after
// import.wait_ms. A home that does not answer, or refuses, is asked again for as long once more; then any host that will may have the endpoint, and if
// there is none the connection is reset, so that the peer knows.
#pragma once

#include "migration/importer.h"
#include "context/world.h"

namespace sockmi::daemon {

// For as long as the daemon runs.
asio::awaitable<void> return_unclaimed(World& world);

// For a daemon that stops, when nothing new is begun any more (World::stopping): waits, within a bound, until what is under way has come to its end, and
// no endpoint is here that would end with the daemon.
asio::awaitable<void> drain(World& world, const Importer& arrivals);

}  // namespace sockmi::daemon
