// The life of connections after they moved: their rules end when they end.
#pragma once

#include "broker/world.h"

namespace sockmi::broker {

// Reports the end of residents to their homes, for as long as the daemon runs.
asio::awaitable<void> watch_ends(World& world, std::unique_ptr<steer::SocketEnds> ends);

// What a holder may tell the connection's home. Only the host that we sent it to is believed (EACCES, ENOENT).
Result<> moved(World& world, const std::string& from, const FourTuple& tuple, const IpAddress& to, const std::string& host);
Result<> ended(World& world, const std::string& from, const FourTuple& tuple);

// Sends endpoints that no application took in time back to where they belong, for as long as the daemon runs.
asio::awaitable<void> return_unclaimed(World& world);

}  // namespace sockmi::broker
