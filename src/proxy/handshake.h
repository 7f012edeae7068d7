// Waits on behalf of a stream, and does a TLS handshake, until a deadline.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/ready.h"
#include "proxy/tls_stream.h"

namespace sockmi::proxy {

// Waits for what the outcome wants. Errors: ETIMEDOUT after the deadline.
boost::asio::awaitable<Result<>> wait_for(const Stream& stream, Outcome::Kind kind,
                                          Clock::time_point deadline);

// Does a handshake to its end, or until it needs an answer to the ClientHello. Errors: as
// wait_for() and TlsStream::handshake().
boost::asio::awaitable<Result<>> shake_hands(TlsStream& stream, Clock::time_point deadline);

}  // namespace sockmi::proxy
