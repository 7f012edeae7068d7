// The provider "sockmi" stands in front of the default one: a property query "?provider=sockmi" prefers it where it has something, and leaves
// everything else to the default provider.
#include <cstdlib>
#include <mutex>
#include <vector>

#include <openssl/evp.h>
#include <openssl/provider.h>

#include "tls/tls.h"
#include "tls/wrapped.h"

namespace sockmi::tls {

const Default& Default::get() {
  static const Default it = [] {
    Default out{OSSL_LIB_CTX_new(), nullptr, nullptr};
    out.provider = OSSL_PROVIDER_load(out.libctx, "default");
    if (!out.provider) std::abort();  // OpenSSL without its own default provider is none
    out.context = OSSL_PROVIDER_get0_provider_ctx(out.provider);
    return out;
  }();
  return it;
}

namespace {

const OSSL_ALGORITHM* query(void*, int operation, int* no_cache) {
  *no_cache = 0;
  if (operation == OSSL_OP_CIPHER) return wrapped_ciphers();
  if (operation == OSSL_OP_KDF) return wrapped_kdfs();
  if (operation == OSSL_OP_MAC) return wrapped_macs();
  return nullptr;
}
void teardown(void*) {}

int init(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH*, const OSSL_DISPATCH** out, void** context) {
  static const OSSL_DISPATCH table[] = {{OSSL_FUNC_PROVIDER_QUERY_OPERATION, reinterpret_cast<void (*)()>(query)},
                                        {OSSL_FUNC_PROVIDER_TEARDOWN, reinterpret_cast<void (*)()>(teardown)},
                                        {0, nullptr}};
  *out = table;
  *context = const_cast<OSSL_CORE_HANDLE*>(handle);
  return 1;
}

}  // namespace

// A library context does not free what was loaded into it and not unloaded, and it has no event to unload at. The handles are kept to the
// process's end, so that a leak checker finds them held, as they are.
Result<> enable(OSSL_LIB_CTX* libctx) {
  static std::mutex mutex;
  static auto* const loaded = new std::vector<OSSL_PROVIDER*>;
  std::lock_guard lock(mutex);
  if (OSSL_PROVIDER_available(libctx, "sockmi")) return {};
  if (!EVP_set_default_properties(libctx, "?provider=sockmi")) return fail_openssl(EINVAL, "preferring the sockmi provider");
  if (!OSSL_PROVIDER_add_builtin(libctx, "sockmi", init)) return fail_openssl(EINVAL, "adding the sockmi provider");
  for (const char* name : {"default", "sockmi"}) {
    OSSL_PROVIDER* provider = OSSL_PROVIDER_load(libctx, name);
    if (!provider) return fail_openssl(EINVAL, std::string("loading the provider ") + name);
    loaded->push_back(provider);
  }
  return {};
}

}  // namespace sockmi::tls
