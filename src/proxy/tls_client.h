// The TLS to a backend: which certificates of backends are accepted, and the proxy's own.
//
// It never changes: a new configuration makes a new one.
#pragma once

#include <memory>

#include "proxy/alpn.h"
#include "proxy/config.h"
#include "proxy/tls_stream.h"

namespace sockmi::proxy {

class TlsClient {
 public:
  // Reads the files that the backend's configuration names. Errors: EINVAL if one cannot
  // be used.
  static Result<std::shared_ptr<const TlsClient>> make(const BackendConfig& config);

  // Returns an SSL for a connection, which offers these application protocols; nullptr if
  // there is no memory.
  SslPointer new_ssl(const Protocols& protocols) const;

 private:
  TlsClient() = default;

  SslContext context_;
  std::string server_name_;
};

// Returns the application protocol that a handshake has chosen; empty: none.
std::string_view protocol_of(const SSL* ssl);

}  // namespace sockmi::proxy
