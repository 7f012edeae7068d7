// Reads the first message of a TLS client, which is not encrypted: for which server it
// is.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::proxy {

struct ClientHello {
  std::string server_name;  // in small letters; empty: none
};

// What is longer, with the heads of its records, is refused.
inline constexpr std::size_t kMaxClientHelloBytes = 16 << 10;

// Returns none if more bytes are needed. Errors: EPROTO if this is no ClientHello, or one
// that is malformed or too long.
Result<std::optional<ClientHello>> read_client_hello(ByteView bytes);

// Reads the extension server_name. Returns the name in small letters; empty: none.
// Errors: EPROTO if it is malformed.
Result<std::string> read_server_name(ByteView extension);

}  // namespace sockmi::proxy
