// Connects with an address or a backend, within a time.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "base/unique_fd.h"
#include "proxy/backends.h"
#include "proxy/ready.h"

namespace sockmi::proxy {

// Errors: ETIMEDOUT at the deadline; others as connect(2).
boost::asio::awaitable<Result<unique_fd>> connect_to(StreamAddress address,
                                                     Clock::time_point deadline);

// The same with a backend, where it is now. Waits for the first look-up of its name.
boost::asio::awaitable<Result<unique_fd>> connect_to(const Backend& backend,
                                                     Clock::time_point deadline);

// Whether the error says nothing about the other end: the proxy lacks something.
bool is_own_lack(int code);

}  // namespace sockmi::proxy
