#include "lib/module_api.h"

#include "tls/provider/provider.h"

int sockmi_provider_init(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH* in,
                         const OSSL_DISPATCH** out, void** context) {
  return sockmi::tls::provider_init(handle, in, out, context);
}
