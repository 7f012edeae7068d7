// sockmi.so, which openssl.cnf can name: the provider for programs that were not written for it.
//
// There is nothing in it. What the provider sees (secrets, cipher contexts) has to be where save_ssl() looks for it, so all of it is in
// libappsockmi, of which the dynamic linker loads one copy a process, whoever asks: the program itself, a library that was preloaded, this module.
#include "lib/module_api.h"

extern "C" SOCKMI_API OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH* in, const OSSL_DISPATCH** out, void** context) {
  return sockmi_provider_init(handle, in, out, context);
}
