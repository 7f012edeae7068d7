// The TLS of a listener: its certificates, and which of them a client gets.
//
// A handshake stops when the ClientHello has arrived. Its caller then knows which server
// and which application protocols the client asks for, and says which protocol it gets:
// that may be what a backend has chosen.
//
// It never changes: a new configuration makes a new one, and a connection keeps its own
// as long as it lives.
#pragma once

#include <memory>
#include <optional>

#include "proxy/alpn.h"
#include "proxy/config.h"
#include "proxy/server_names.h"
#include "proxy/tls_stream.h"

namespace sockmi::proxy {

// The ClientHello of a handshake, and the answer to it.
struct ServerHandshake {
  bool arrived = false;     // the ClientHello; the handshake waits for one of the answers
  std::string server_name;  // empty: none
  Protocols offered;
  // One of these is the answer.
  std::optional<std::string> protocol;  // the client gets this one; empty: none
  int alert = 0;                        // the handshake ends with this alert
};

class TlsServer {
 public:
  // Reads the certificates and keys. Errors: EINVAL if they do not fit or cannot be read.
  static Result<std::shared_ptr<const TlsServer>> make(const ListenerConfig& config);

  // Returns an SSL for a connection, nullptr if there is no memory. It must not outlive
  // the TlsServer. Borrows `handshake` until forget_handshake(), or the end of the SSL.
  // Without one, the SSL is for the image of another one: then the client gets the
  // protocol that it offers, because that is the one that was chosen.
  SslPointer new_ssl(ServerHandshake* handshake) const;
  static void forget_handshake(SSL* ssl);

 private:
  TlsServer() = default;
  Result<SslContext> make_context(const CertificateConfig& files);
  void add_names(SSL_CTX* context);
  static int choose_certificate(SSL* ssl, int* alert, void* self);

  std::vector<SslContext> contexts_;
  SSL_CTX* default_ = nullptr;
  ServerNames<SSL_CTX*> by_name_;
};

// Returns the server name that the client of a handshake has asked for; empty: none.
std::string_view server_name_of(const SSL* ssl);

}  // namespace sockmi::proxy
