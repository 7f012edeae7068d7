// Application protocols that a TLS client offers, of which the server chooses one: ALPN
// (RFC 7301).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::proxy {

using Protocols = std::vector<std::string>;

// A longer list of a client is refused.
inline constexpr std::size_t kMaxProtocolListBytes = 1024;

// Reads a list, without its own size before it. Errors: EPROTO if it is malformed or too
// long.
Result<Protocols> read_protocols(ByteView list);
Bytes write_protocols(const Protocols& protocols);

// Returns those that the client has offered, in the order of `taken`; all that it has
// offered if `taken` is empty. Errors: EPROTONOSUPPORT if it has offered others only.
Result<Protocols> common_protocols(const Protocols& taken, const Protocols& offered);

}  // namespace sockmi::proxy
