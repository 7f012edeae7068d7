// Reads a host's folder anew when its files change, or on SIGHUP: nothing has to be restarted for a renewed certificate, a revocation or a new key.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "cluster/identity.h"

namespace sockmi::cluster {

// For as long as the daemon runs. What can't be read, or is another host's, is logged, and the former goes on. `workers`: for reading files.
boost::asio::awaitable<void> keep_current(boost::asio::io_context& io, boost::asio::thread_pool& workers, Identity identity);

}  // namespace sockmi::cluster
