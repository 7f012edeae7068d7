#include "proxy/tls_files.h"

namespace sockmi::proxy {

void set_common_options(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // Tickets resume sessions of clients; a cache would grow with their number.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  // Without this, OpenSSL asks at the terminal for the password of an encrypted key.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
}

Result<> use_certificate(SSL_CTX* context, const CertificateConfig& files) {
  if (SSL_CTX_use_certificate_chain_file(context, files.chain.c_str()) != 1)
    return fail_openssl(EINVAL, "cannot use certificate " + files.chain);
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1)
    return fail_openssl(EINVAL, "cannot use key " + files.key);
  return {};
}

}  // namespace sockmi::proxy
