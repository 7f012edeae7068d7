// Connects with an address, within a time.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "base/unique_fd.h"
#include "proxy/ready.h"
#include "proxy/stream_address.h"

namespace sockmi::proxy {

// Errors: ETIMEDOUT at the deadline; others as connect(2).
boost::asio::awaitable<Result<unique_fd>> connect_to(StreamAddress address,
                                                     Clock::time_point deadline);

// Whether the error says nothing about the other end: the proxy lacks something.
bool is_own_lack(int code);

}  // namespace sockmi::proxy
