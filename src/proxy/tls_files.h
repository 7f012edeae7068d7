// What the TLS of clients and that to backends have in common.
#pragma once

#include "proxy/config.h"
#include "proxy/tls_stream.h"

namespace sockmi::proxy {

void set_common_options(SSL_CTX* context);

// Reads a certificate with its chain, and its key. Errors: EINVAL if they do not fit, or
// cannot be read.
Result<> use_certificate(SSL_CTX* context, const CertificateConfig& files);

}  // namespace sockmi::proxy
