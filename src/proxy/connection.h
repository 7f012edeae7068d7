// Serves an accepted connection: connects it with a backend, and has it relayed.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/worker.h"

namespace sockmi::proxy {

// Ends when the connection is relayed, or could not be. Runs in the worker's thread.
boost::asio::awaitable<void> serve(Worker& worker, Accepted accepted);

}  // namespace sockmi::proxy
