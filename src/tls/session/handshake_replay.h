// Loads a session into a stock SSL object by a handshake: see handshake_replay.cc.
#pragma once

#include "base/error.h"
#include "tls/session/memory_link.h"
#include "tls/session/ssl_data.h"
#include "wire/tls_generated.h"

namespace sockmi::tls {

// What a handshake replay loads into its target.
struct LoadPlan {
  const wire::Tls* tls = nullptr;
  Suite suite{};
  SessionPointer session;
  std::vector<X509*> chain;  // the peer's; borrowed
};

// Performs the handshake replay. The target's BIOs are kept. Errors: ENOTSUP, ENOKEY,
// EBADMSG; after an error the target can still perform a handshake of its own.
Result<> replay_handshake(SSL* target, LoadPlan& plan);

// Removes all secrets from an SSL that has been exported. The SSL is then as before its
// handshake: see overwrite.cc. On error copies of secrets are left.
Result<> overwrite_secrets(SSL* ssl);

}  // namespace sockmi::tls
