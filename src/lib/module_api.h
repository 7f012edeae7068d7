// What libappsockmi has for its module (src/module), under a symbol version of its own: APPSOCKMI_PRIVATE.
#pragma once

#include <openssl/core.h>
#include <sockmi/sockmi.h>

extern "C" SOCKMI_API OSSL_provider_init_fn sockmi_provider_init;
