// The provider's entry: what OSSL_provider_init() is to a module.
#pragma once

#include <openssl/core.h>

namespace sockmi::tls {

OSSL_provider_init_fn provider_init;

}  // namespace sockmi::tls
