// Connects two SSLs in memory.
#pragma once

#include <memory>

#include <openssl/ssl.h>

namespace sockmi::tls {

template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using SslPointer = std::unique_ptr<SSL, Deleter<SSL, SSL_free>>;
using ContextPointer = std::unique_ptr<SSL_CTX, Deleter<SSL_CTX, SSL_CTX_free>>;
using SessionPointer = std::unique_ptr<SSL_SESSION, Deleter<SSL_SESSION, SSL_SESSION_free>>;

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
