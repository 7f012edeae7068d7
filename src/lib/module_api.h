// The interface of libappsockmi to its OpenSSL module (openssl_module.cc). It has a
// symbol version of its own, APPSOCKMI_PRIVATE.
#pragma once

#include <openssl/core.h>
#include <sockmi/sockmi.h>

extern "C" SOCKMI_API OSSL_provider_init_fn sockmi_provider_init;
