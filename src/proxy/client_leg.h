// Opens the client's leg: what has to happen with an accepted connection before it is
// known which service it is for.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/plan.h"
#include "proxy/relay_state.h"

namespace sockmi::proxy {

struct ClientLeg {
  std::unique_ptr<Stream> stream;
  std::shared_ptr<const ServicePlan> service;
};

// Does the TLS handshake, or reads the ClientHello, as the listener has it, within its
// time. What was read and is for the backend is pending in `state` afterwards. Errors:
// EPROTO if the client sends something else; ETIMEDOUT if it is too slow.
boost::asio::awaitable<Result<ClientLeg>> open_client_leg(unique_fd socket,
                                                          const ListenerPlan& listener,
                                                          RelayState& state);

}  // namespace sockmi::proxy
