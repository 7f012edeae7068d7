// The exporter's half of a migration, from the descriptor that arrived to the endpoint that is gone.
#pragma once

#include "base/unique_fd.h"
#include "broker/world.h"

namespace sockmi::broker {

// Moves the endpoint behind `socket` to `target` (any(): whoever will). `endpoint` comes with service, owner, state, TLS image and
// payload; the rest is filled in here. `timeout` bounds the time until the decision; 0: only the configured ones do. On an error the
// connection goes on here as if nothing had happened.
asio::awaitable<Result<>> export_endpoint(World& world, unique_fd socket, image::Endpoint endpoint, IpAddress target, milliseconds timeout = {});

}  // namespace sockmi::broker
