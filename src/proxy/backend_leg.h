// Opens the leg to a backend of a service.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/plan.h"
#include "proxy/relay_state.h"
#include "proxy/stream.h"

namespace sockmi::proxy {

struct BackendLeg {
  std::unique_ptr<Stream> stream;
  Lease lease;
};

// Connects the client of this state. Tries one backend after the other, as many as the
// service allows. Errors: that of the last one; EHOSTUNREACH if all backends have as many
// connections as they may.
boost::asio::awaitable<Result<BackendLeg>> open_backend_leg(const ServicePlan& service,
                                                            const RelayState& state);

}  // namespace sockmi::proxy
