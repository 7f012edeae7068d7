// The provider's entry point: the equivalent of OSSL_provider_init() in a module.
#pragma once

#include <openssl/core.h>

namespace sockmi::tls {

OSSL_provider_init_fn provider_init;

}  // namespace sockmi::tls
