// A leg with TLS. The SSL is on a BIO of sockmi_set_fd(), so that it can be exported at
// any moment.
//
// The end of a direction is a close_notify. An end without it passes as truncated: a leg
// with TLS then ends without close_notify as well; a leg without TLS has no such
// difference.
#pragma once

#include <openssl/ssl.h>

#include "base/openssl_ptr.h"
#include "proxy/stream.h"

namespace sockmi::proxy {

using SslPointer = OpenSslPointer<SSL, SSL_free>;
using SslContext = OpenSslPointer<SSL_CTX, SSL_CTX_free>;

class TlsStream : public Stream {
 public:
  // Takes an SSL that has its role, and no socket yet.
  static Result<std::unique_ptr<TlsStream>> open(unique_fd fd, SslPointer ssl);

  // Takes an SSL that sockmi has imported, with its socket.
  static std::unique_ptr<TlsStream> adopt(unique_fd fd, SslPointer ssl);

  // Done: the handshake is over, or waits for the answer to the ClientHello
  // (tls_server.h). Failed with EPROTONOSUPPORT: the peer takes none of the application
  // protocols.
  Outcome handshake();
  Outcome read(std::span<std::uint8_t> into) override;
  Outcome write(ByteView bytes) override;
  // After an import the SSL may have the rest of a record that the exporter began.
  Outcome flush() override;
  Outcome end_output(bool truncated) override;

  SSL* ssl() override { return ssl_.get(); }

 private:
  TlsStream(unique_fd fd, SslPointer ssl) : Stream(std::move(fd)), ssl_(std::move(ssl)) {}
  Outcome after_ssl(int result, const char* what);
  Error handshake_error(int reason) const;

  SslPointer ssl_;
  bool notified_ = false;
};

}  // namespace sockmi::proxy
