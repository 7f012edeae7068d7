// sockmi.so, a module that openssl.cnf can name: it gives the provider to programs that
// were not written for sockmi.
//
// The module contains only the entry point. What the provider sees (secrets, cipher
// contexts) must be where save_ssl() looks for it. So all of it is in libappsockmi, which
// the dynamic linker loads once per process, no matter if the program, a preloaded
// library or this module needs it.
#include "lib/module_api.h"

extern "C" SOCKMI_API OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH* in,
                       const OSSL_DISPATCH** out, void** context) {
  return sockmi_provider_init(handle, in, out, context);
}
