// The TLS of a listener: its certificates, which of them a client gets, and which
// application protocol (ALPN).
//
// It never changes: a new configuration makes a new one, and a connection keeps its own
// as long as it lives.
#pragma once

#include <functional>
#include <memory>

#include "proxy/config.h"
#include "proxy/server_names.h"
#include "proxy/tls_stream.h"

namespace sockmi::proxy {

class TlsServer {
 public:
  // Returns the application protocols that may be offered to a client which asks for this
  // server.
  using ProtocolsOf = std::function<const std::vector<std::string>&(std::string_view server_name)>;

  // Reads the certificates and keys. Errors: EINVAL if they do not fit or cannot be read.
  static Result<std::shared_ptr<const TlsServer>> make(const ListenerConfig& config,
                                                       ProtocolsOf protocols);

  // Returns an SSL for a connection. It must not outlive the TlsServer.
  SslPointer new_ssl() const;

 private:
  TlsServer() = default;
  Result<SslContext> make_context(const CertificateConfig& files);
  void add_names(SSL_CTX* context);
  static int choose_certificate(SSL* ssl, int* alert, void* self);
  static int choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                             const unsigned char* offered, unsigned int offered_size, void* self);

  ProtocolsOf protocols_;
  std::vector<SslContext> contexts_;
  SSL_CTX* default_ = nullptr;
  ServerNames<SSL_CTX*> by_name_;
};

// Returns the server name that the client of a handshake has asked for; empty: none.
std::string_view server_name_of(const SSL* ssl);

}  // namespace sockmi::proxy
