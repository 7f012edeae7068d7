// Maintains the journal while the daemon runs: writes again what a full disk did not
// take, and replaces a file that has grown.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "connections/table.h"

namespace sockmi::daemon {

boost::asio::awaitable<void> keep_journal(boost::asio::io_context& io, ConnectionTable& table);

}  // namespace sockmi::daemon
