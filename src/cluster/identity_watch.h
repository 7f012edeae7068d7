// Reads a host's folder again when its files change, on SIGHUP, and once per hour. So a
// renewed certificate, a revocation or a new key needs no restart.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "cluster/identity.h"

namespace sockmi::cluster {

// Runs as long as the daemon. Contents that cannot be read, or that are another host's,
// are logged; the former credentials stay in force. `workers`: threads that read the
// files.
boost::asio::awaitable<void> keep_current(boost::asio::io_context& io,
                                          boost::asio::thread_pool& workers, Identity identity);

}  // namespace sockmi::cluster
