// Requests new traffic keys for a TLS 1.3 connection (RFC 8446, 4.6.3), in both
// directions.
#include <openssl/err.h>

#include "tls/tls.h"

namespace sockmi::tls {

Result<> update_keys(SSL* ssl) {
  if (is_retired(ssl)) return fail(ESHUTDOWN, "SSL was exported");
  if (phase(ssl) != Phase::Established) return fail(EAGAIN, "handshake is not finished");
  if (SSL_version(ssl) != TLS1_3_VERSION)
    return fail(ENOTSUP, "{} has no KeyUpdate", SSL_get_version(ssl));
  ERR_clear_error();
  // Fails if an SSL_write is half done.
  if (SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) != 1)
    return fail_openssl(EAGAIN, "cannot update the keys");
  const int sent = SSL_do_handshake(ssl);
  if (sent != 1 && SSL_get_error(ssl, sent) != SSL_ERROR_WANT_WRITE)
    return fail_openssl(EPROTO, "cannot update the keys");
  return {};
}

}  // namespace sockmi::tls
