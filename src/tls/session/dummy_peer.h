// The throw-away side of a rehearsal: what stands in for the peer.
#pragma once

#include <openssl/ssl.h>

#include "base/secret.h"

namespace sockmi::tls {

// A context for one version and cipher suite, in a library context of our own, with the provider in its path. Lives as long as the process.
SSL_CTX* shadow_context(int version, const SSL_CIPHER* cipher);

// The ALPN protocol that it chooses as a server; empty: none. `protocol` has to live as long as the handshake.
void choose_alpn(SSL* shadow, const ByteView* protocol);

// A session that has a peer's chain, for which there is no setter: to be filled with what it shall be. Null: no memory.
SSL_SESSION* new_session_with_chain();

}  // namespace sockmi::tls
