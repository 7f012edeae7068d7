// Gives the real connection's keys and sequence numbers to an SSL that has performed a
// handshake replay.
#pragma once

#include <openssl/ssl.h>

#include "base/error.h"
#include "base/secret.h"
#include "tls/provider/secret_registry.h"
#include "tls/provider/suites.h"
#include "wire/tls_generated.h"

namespace sockmi::tls {

// `scope`: that of the replay. `master`: the session's real secret. Errors: ENOKEY if the
// provider is not in the SSL's path.
Result<> set_real_keys(SSL* target, const wire::Tls& tls, const Suite& suite, const Scope& scope,
                       const Secret& master);

}  // namespace sockmi::tls
