// Implements the provider "sockmi", which takes precedence over the default one: the
// property query "?provider=sockmi" prefers it for the algorithms that it has. The
// default provider supplies all others.
//
// The provider gets into a library context in one of two ways. enable() adds it as a
// built-in provider. Or openssl.cnf names it as a module (src/lib/openssl_module.cc), for
// programs that are not written for sockmi. Both ways end in provider_init() of the one
// libappsockmi in the process, so there is one registry.
#include "tls/provider/provider.h"

#include <cstdlib>
#include <mutex>
#include <vector>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <sockmi/version.h>

#include "tls/provider/dispatch.h"
#include "tls/tls.h"

namespace sockmi::tls {

const DefaultProvider& DefaultProvider::get() {
  static const DefaultProvider it = [] {
    DefaultProvider out{OSSL_LIB_CTX_new(), nullptr, nullptr};
    out.provider = OSSL_PROVIDER_load(out.libctx, "default");
    if (!out.provider) std::abort();  // an OpenSSL without its default provider is unusable
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

// The parameters that `openssl list -providers` shows.
const OSSL_PARAM* gettable_params(void*) {
  static const OSSL_PARAM gettable[] = {
      OSSL_PARAM_DEFN(OSSL_PROV_PARAM_NAME, OSSL_PARAM_UTF8_PTR, nullptr, 0),
      OSSL_PARAM_DEFN(OSSL_PROV_PARAM_VERSION, OSSL_PARAM_UTF8_PTR, nullptr, 0),
      OSSL_PARAM_DEFN(OSSL_PROV_PARAM_STATUS, OSSL_PARAM_INTEGER, nullptr, 0), OSSL_PARAM_END};
  return gettable;
}
int get_params(void*, OSSL_PARAM params[]) {
  OSSL_PARAM* name = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);
  OSSL_PARAM* version = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_VERSION);
  OSSL_PARAM* status = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);
  return (!name || OSSL_PARAM_set_utf8_ptr(name, "sockmi: TLS connections that can move")) &&
         (!version || OSSL_PARAM_set_utf8_ptr(version, SOCKMI_VERSION_STRING)) &&
         (!status || OSSL_PARAM_set_int(status, 1));
}
void teardown(void*) {}

constexpr const char* kName = "sockmi";
const OSSL_DISPATCH* functions() {
  static const OSSL_DISPATCH all[] = {
      {OSSL_FUNC_PROVIDER_QUERY_OPERATION, generic(query)},
      {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, generic(gettable_params)},
      {OSSL_FUNC_PROVIDER_GET_PARAMS, generic(get_params)},
      {OSSL_FUNC_PROVIDER_TEARDOWN, generic(teardown)},
      {0, nullptr}};
  return all;
}

// Returns whether libssl gets its ciphers in this library context from us: from this copy
// of the library, whose registry save() uses.
bool preferred(OSSL_LIB_CTX* libctx) {
  EVP_CIPHER* cipher = EVP_CIPHER_fetch(libctx, "AES-128-GCM", nullptr);
  const bool ours =
      cipher && OSSL_PROVIDER_get0_dispatch(EVP_CIPHER_get0_provider(cipher)) == functions();
  EVP_CIPHER_free(cipher);
  return ours;
}

}  // namespace

int provider_init(const OSSL_CORE_HANDLE* handle, const OSSL_DISPATCH*, const OSSL_DISPATCH** out,
                  void** context) {
  *out = functions();
  *context = const_cast<OSSL_CORE_HANDLE*>(handle);
  return 1;
}

// A library context does not free providers that were loaded into it and not unloaded,
// and it has no event at which to unload them. The handles are kept to the end of the
// process, so that a leak checker finds them reachable, which they are.
Result<> enable(OSSL_LIB_CTX* libctx) {
  static std::mutex mutex;
  static auto* const loaded = new std::vector<OSSL_PROVIDER*>;
  std::lock_guard lock(mutex);
  if (EVP_default_properties_is_fips_enabled(libctx))
    return fail(ENOTSUP, "library context is for validated (FIPS) algorithms only");
  const bool available = OSSL_PROVIDER_available(libctx, kName);
  if (available && preferred(libctx)) return {};
  if (!EVP_set_default_properties(libctx, "?provider=sockmi"))
    return fail_openssl(EINVAL, "cannot prefer the sockmi provider");
  if (!available) {
    if (!OSSL_PROVIDER_add_builtin(libctx, kName, provider_init))
      return fail_openssl(EINVAL, "cannot add the sockmi provider");
    for (const char* name : {"default", kName}) {
      OSSL_PROVIDER* provider = OSSL_PROVIDER_load(libctx, name);
      if (!provider) return fail_openssl(EINVAL, std::string("cannot load the provider ") + name);
      loaded->push_back(provider);
    }
  }
  if (!preferred(libctx)) {
    return fail(EEXIST, "library context has the provider of another copy of libappsockmi");
  }
  return {};
}

}  // namespace sockmi::tls
