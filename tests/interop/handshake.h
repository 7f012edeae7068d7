// The TLS end before it first moves: contexts, and the one handshake with the peer.
#pragma once

#include <string>
#include <vector>

#include "connection.h"

namespace mover {

struct TlsOptions {
  std::string version, ciphers, certificate, key, ca, name;  // empty: the default
  std::vector<std::string> alpn;
};

class Context {
 public:
  // Allows every version and suite that can move, because a context must allow what is
  // loaded into an SSL of it.
  explicit Context(const TlsOptions& options);
  ~Context() { SSL_CTX_free(ctx_); }
  Context(const Context&) = delete;

  SslPtr fresh() const;  // to load an image into
  // Does the handshake over a blocking socket.
  SslPtr accept(int fd) const { return shake_hands(fd, true); }
  SslPtr connect(int fd) const { return shake_hands(fd, false); }

 private:
  SslPtr shake_hands(int fd, bool server) const;
  static int select_alpn(SSL*, const unsigned char** out, unsigned char* size,
                         const unsigned char* in, unsigned in_size, void* self);
  SSL_CTX* ctx_;
  TlsOptions options_;
};

std::string describe(const SSL* ssl);  // "TLSv1.3 TLS_AES_128_GCM_SHA256 alpn=h2"
[[noreturn]] void fail_openssl(const std::string& what);

}  // namespace mover
