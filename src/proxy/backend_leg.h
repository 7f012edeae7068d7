// Opens the leg to a backend of a service.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/plan.h"
#include "proxy/relay_state.h"
#include "proxy/stream.h"

namespace sockmi::proxy {

struct BackendLeg {
  std::unique_ptr<Stream> stream;
  BackendSlot slot;
  std::string protocol;  // that the client gets; empty: none
};

// Connects the client of this state. Tries one backend after the other, as many as the
// service allows. `offered`: the application protocols that the client offers; a backend
// with TLS chooses one of those that the service takes. Errors: that of the last backend;
// EHOSTUNREACH if all backends have as many connections as they may; EPROTONOSUPPORT if
// none of the protocols is taken.
boost::asio::awaitable<Result<BackendLeg>> open_backend_leg(const ServicePlan& service,
                                                            const RelayState& state,
                                                            const Protocols& offered);

}  // namespace sockmi::proxy
