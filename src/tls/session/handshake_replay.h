// How a genuine SSL comes to hold somebody else's session: see rehearsal.cc.
#pragma once

#include "base/error.h"
#include "wire/tls_generated.h"
#include "tls/session/ssl_data.h"
#include "tls/session/memory_link.h"

namespace sockmi::tls {

// What a rehearsal is to make of its target.
struct LoadPlan {
  const wire::Tls* tls = nullptr;
  Suite suite{};
  SessionPointer session;
  std::vector<X509*> chain;  // the peer's; borrowed
};

// ENOTSUP, ENOKEY, EBADMSG; the target is then fit for a handshake of its own. Its BIOs stay what they are.
Result<> rehearse(SSL* target, LoadPlan& script);

// Takes every secret out of an SSL that has been exported, which is then as one before its handshake: see overwrite.cc. An error: copies are left.
Result<> overwrite_secrets(SSL* ssl);

}  // namespace sockmi::tls
