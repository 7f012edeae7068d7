// How a genuine SSL comes to hold somebody else's session: see rehearsal.cc.
#pragma once

#include "base/error.h"
#include "image/tls_generated.h"
#include "tls/attachment.h"
#include "tls/stage.h"

namespace sockmi::tls {

// What a rehearsal is to make of its target.
struct Script {
  const image::Tls* tls = nullptr;
  Suite suite{};
  SessionPointer session;
  std::vector<X509*> chain;  // the peer's; borrowed
};

// ENOTSUP, ENOKEY, EBADMSG; the target is then fit for a handshake of its own. Its BIOs stay what they are.
Result<> rehearse(SSL* target, Script& script);

// libssl does not wipe its copies of TLS 1.3's secrets when an SSL is cleared or freed: another session, of random secrets, takes their place. The
// SSL is then as one before its handshake.
void overwrite_secrets(SSL* ssl);

}  // namespace sockmi::tls
