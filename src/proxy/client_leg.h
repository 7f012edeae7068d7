// Opens the client's leg: what has to happen with an accepted connection before it is
// known which service it is for.
//
// A client that offers application protocols, and whose service has backends with TLS,
// gets the protocol that its backend chooses. So its handshake waits until a backend is
// connected.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/plan.h"
#include "proxy/ready.h"
#include "proxy/relay_state.h"

namespace sockmi::proxy {

struct ClientLeg {
  // The SSL of the stream, which is destroyed first, refers to it.
  std::unique_ptr<ServerHandshake> handshake;  // that waits for a backend; else none
  std::unique_ptr<Stream> stream;
  std::shared_ptr<const ServicePlan> service;
  ClientLimit::Slot slot;
  Protocols offered;        // what the backend may choose from
  Clock::duration left{0};  // of the handshake's time
};

// Does the TLS handshake, or reads the ClientHello, as the listener has it, within its
// time. What was read and is for the backend is pending in `state` afterwards. Errors:
// EPROTO if the client sends something else, EPROTONOSUPPORT if it offers no application
// protocol that the service takes; ETIMEDOUT if it is too slow; EDQUOT if it has as many
// connections as it may.
boost::asio::awaitable<Result<ClientLeg>> open_client_leg(unique_fd socket,
                                                          const ListenerPlan& listener,
                                                          RelayState& state);

// Ends a handshake that has waited. `protocol`: what the backend has chosen, or why there
// is no backend; then the client is told that its connection has failed, and the error is
// that of `protocol`. Other errors: as open_client_leg().
boost::asio::awaitable<Result<>> finish_client_leg(ClientLeg& leg,
                                                   const Result<std::string>& protocol);

}  // namespace sockmi::proxy
