// Connects two SSLs in memory.
#pragma once

#include <openssl/ssl.h>

#include "base/openssl_ptr.h"

namespace sockmi::tls {

using SslPointer = OpenSslPointer<SSL, SSL_free>;
using ContextPointer = OpenSslPointer<SSL_CTX, SSL_CTX_free>;
using SessionPointer = OpenSslPointer<SSL_SESSION, SSL_SESSION_free>;

bool connect_in_memory(SSL* a, SSL* b);

// Runs both SSLs alternately until both have finished their handshake. `turn` is called
// with each SSL before it runs.
template <class Turn>
bool shake_hands(SSL* a, SSL* b, Turn&& turn) {
  const auto step = [&](SSL* ssl) {
    if (SSL_is_init_finished(ssl)) return true;
    turn(ssl);
    const int result = SSL_do_handshake(ssl);
    return result == 1 || SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ;
  };
  for (int flight = 0; flight < 10 && !(SSL_is_init_finished(a) && SSL_is_init_finished(b));
       ++flight)
    if (!step(a) || !step(b)) return false;
  return SSL_is_init_finished(a) && SSL_is_init_finished(b);
}
inline bool shake_hands(SSL* a, SSL* b) {
  return shake_hands(a, b, [](SSL*) {});
}

}  // namespace sockmi::tls
