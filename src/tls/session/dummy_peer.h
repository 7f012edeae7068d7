// The temporary SSL that takes the place of the peer in a handshake replay.
#pragma once

#include <openssl/ssl.h>

#include "base/secret.h"

namespace sockmi::tls {

// Returns an SSL_CTX for one version and cipher suite, in a library context of our own
// that has the provider enabled. It lives as long as the process.
SSL_CTX* dummy_context(int version, const SSL_CIPHER* cipher);

// Sets the ALPN protocol that the dummy peer chooses as a server; empty: none. `protocol`
// must live as long as the handshake.
void choose_alpn(SSL* dummy, const ByteView* protocol);

// Returns a session that has a peer's certificate chain, which has no setter. The caller
// fills it with the real contents. Null if memory is short.
SSL_SESSION* new_session_with_chain();

}  // namespace sockmi::tls
