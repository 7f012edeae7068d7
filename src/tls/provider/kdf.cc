// Passes TLS13-KDF and TLS1-PRF on to the default provider, and records what they derive.
// While an endpoint is being loaded, it returns the endpoint's real secrets in place of
// the derived ones.
#include <cstring>
#include <string_view>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "tls/provider/dispatch.h"

namespace sockmi::tls {

namespace {

struct KdfTable {
  OSSL_FUNC_kdf_newctx_fn* newctx;
  OSSL_FUNC_kdf_dupctx_fn* dupctx;  // since OpenSSL 3.1
  OSSL_FUNC_kdf_freectx_fn* freectx;
  OSSL_FUNC_kdf_reset_fn* reset;
  OSSL_FUNC_kdf_derive_fn* derive;
  OSSL_FUNC_kdf_get_ctx_params_fn* get_ctx_params;
  OSSL_FUNC_kdf_set_ctx_params_fn* set_ctx_params;
  OSSL_FUNC_kdf_gettable_ctx_params_fn* gettable_ctx_params;
  OSSL_FUNC_kdf_settable_ctx_params_fn* settable_ctx_params;
};

enum : std::size_t { kTls13, kTls1Prf, kCount };
constexpr const char* kNames[kCount] = {"TLS13-KDF", "TLS1-PRF"};
KdfTable tables[kCount];

struct Context {
  const KdfTable* table;
  void* inner;
};

ByteView octets(const OSSL_PARAM* params, const char* name) {
  const OSSL_PARAM* p = params ? OSSL_PARAM_locate_const(params, name) : nullptr;
  return p && p->data ? ByteView(static_cast<const std::uint8_t*>(p->data), p->data_size)
                      : ByteView();
}

const Key* injected(const Connection& real, std::string_view label) {
  if (label == "c ap traffic") return &real.client;
  if (label == "s ap traffic") return &real.server;
  if (label == "exp master") return &real.exporter;
  if (label == "res master") return &real.resumption;
  return nullptr;
}

int derive_tls13(void* v, unsigned char* out, std::size_t size, const OSSL_PARAM params[]) {
  auto* c = static_cast<Context*>(v);
  const int done = c->table->derive(c->inner, out, size, params);
  if (done <= 0) return done;
  const ByteView label_bytes = octets(params, OSSL_KDF_PARAM_LABEL),
                 key = octets(params, OSSL_KDF_PARAM_KEY);
  const std::string_view label(reinterpret_cast<const char*>(label_bytes.data()),
                               label_bytes.size());
  if (Scope* scope = Scope::current()) {
    if (scope->probing && scope->probed.empty()) scope->probed.assign(key.begin(), key.end());
    const Key* real = scope->inject && (!scope->dummy || scope->inject_into_dummy)
                          ? injected(*scope->inject, label)
                          : nullptr;
    if (real && real->size() == size) std::memcpy(out, real->view().data(), size);
    if (real && !scope->dummy && label.ends_with(" ap traffic"))
      Registry::get().expect({scope->inject}, label.front() == 'c', real->view());
    if (real || scope->dummy) return done;
  }
  Registry::get().derived(key, label, ByteView(out, size));
  return done;
}

// The seed of Finished is: label, hash of the handshake (RFC 5246, 7.4.9). The seed of an
// exporter is: label, client random, server random, context (RFC 5705, 4). libssl passes
// a seed as one parameter or as several.
int derive_tls1(void* v, unsigned char* out, std::size_t size, const OSSL_PARAM params[]) {
  auto* c = static_cast<Context*>(v);
  if (const Scope* scope = Scope::current()) {
    const int done = c->table->derive(c->inner, out, size, params);
    const ByteView seed = octets(params, OSSL_KDF_PARAM_SEED);
    const std::string_view label(reinterpret_cast<const char*>(seed.data()), seed.size());
    if (done <= 0 || !scope->inject_finished) return done;
    for (const auto& [wanted, real] :
         {std::pair("client finished", &scope->inject_finished->client),
          {"server finished", &scope->inject_finished->server}})
      if (label.starts_with(wanted) && real->size() == size) std::memcpy(out, real->data(), size);
    return done;
  }
  if (!params || !Registry::get().substitutes())
    return c->table->derive(c->inner, out, size, params);
  std::vector<OSSL_PARAM> given;
  std::vector<Secret> seeds;
  for (const OSSL_PARAM* p = params; p->key; ++p) {
    given.push_back(*p);
    if (std::strcmp(p->key, OSSL_KDF_PARAM_SEED) != 0 || !p->data) continue;
    seeds.emplace_back(static_cast<const std::uint8_t*>(p->data),
                       static_cast<const std::uint8_t*>(p->data) + p->data_size);
    Registry::get().apply_substitutions(seeds.back());
    given.back().data = seeds.back().data();
  }
  given.push_back(OSSL_PARAM_construct_end());
  return c->table->derive(c->inner, out, size, given.data());
}

template <std::size_t I>
void* new_context(void*) {
  return new Context{&tables[I], tables[I].newctx(DefaultProvider::get().context)};
}
void free_context(void* v) {
  auto* c = static_cast<Context*>(v);
  if (!c) return;
  c->table->freectx(c->inner);
  delete c;
}
void* duplicate(void* v) {
  const auto* c = static_cast<const Context*>(v);
  void* inner = c->table->dupctx(c->inner);
  return inner ? new Context{c->table, inner} : nullptr;
}
void reset(void* v) {
  static_cast<Context*>(v)->table->reset(static_cast<Context*>(v)->inner);
}
int get_ctx_params(void* v, OSSL_PARAM params[]) {
  return static_cast<Context*>(v)->table->get_ctx_params(static_cast<Context*>(v)->inner, params);
}
int set_ctx_params(void* v, const OSSL_PARAM params[]) {
  return static_cast<Context*>(v)->table->set_ctx_params(static_cast<Context*>(v)->inner, params);
}
template <std::size_t I>
const OSSL_PARAM* gettable_ctx(void*, void*) {
  return tables[I].gettable_ctx_params(nullptr, DefaultProvider::get().context);
}
template <std::size_t I>
const OSSL_PARAM* settable_ctx(void*, void*) {
  return tables[I].settable_ctx_params(nullptr, DefaultProvider::get().context);
}

template <std::size_t I>
const OSSL_DISPATCH* dispatch() {
  static const OSSL_DISPATCH table[] = {
      {OSSL_FUNC_KDF_NEWCTX, generic(new_context<I>)},
      {OSSL_FUNC_KDF_FREECTX, generic(free_context)},
      {OSSL_FUNC_KDF_RESET, generic(reset)},
      {OSSL_FUNC_KDF_DERIVE, generic(I == kTls13 ? derive_tls13 : derive_tls1)},
      {OSSL_FUNC_KDF_GET_CTX_PARAMS, generic(get_ctx_params)},
      {OSSL_FUNC_KDF_SET_CTX_PARAMS, generic(set_ctx_params)},
      {OSSL_FUNC_KDF_GETTABLE_CTX_PARAMS, generic(gettable_ctx<I>)},
      {OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS, generic(settable_ctx<I>)},
      {tables[I].dupctx ? OSSL_FUNC_KDF_DUPCTX : 0, generic(duplicate)},
      {0, nullptr}};
  return table;
}
constexpr const OSSL_DISPATCH* (*kDispatch[])() = {dispatch<kTls13>, dispatch<kTls1Prf>};

void fill(KdfTable& table, const OSSL_DISPATCH* d) {
  for (; d->function_id; ++d) {
    switch (d->function_id) {
      case OSSL_FUNC_KDF_NEWCTX: table.newctx = OSSL_FUNC_kdf_newctx(d); break;
      case OSSL_FUNC_KDF_DUPCTX: table.dupctx = OSSL_FUNC_kdf_dupctx(d); break;
      case OSSL_FUNC_KDF_FREECTX: table.freectx = OSSL_FUNC_kdf_freectx(d); break;
      case OSSL_FUNC_KDF_RESET: table.reset = OSSL_FUNC_kdf_reset(d); break;
      case OSSL_FUNC_KDF_DERIVE: table.derive = OSSL_FUNC_kdf_derive(d); break;
      case OSSL_FUNC_KDF_GET_CTX_PARAMS:
        table.get_ctx_params = OSSL_FUNC_kdf_get_ctx_params(d);
        break;
      case OSSL_FUNC_KDF_SET_CTX_PARAMS:
        table.set_ctx_params = OSSL_FUNC_kdf_set_ctx_params(d);
        break;
      case OSSL_FUNC_KDF_GETTABLE_CTX_PARAMS:
        table.gettable_ctx_params = OSSL_FUNC_kdf_gettable_ctx_params(d);
        break;
      case OSSL_FUNC_KDF_SETTABLE_CTX_PARAMS:
        table.settable_ctx_params = OSSL_FUNC_kdf_settable_ctx_params(d);
        break;
      default: break;
    }
  }
}

}  // namespace

const OSSL_ALGORITHM* wrapped_kdfs() {
  static const OSSL_ALGORITHM* offered = [] {
    static OSSL_ALGORITHM out[kCount + 1];
    std::size_t count = 0;
    int no_cache = 0;
    for (const OSSL_ALGORITHM* a =
             OSSL_PROVIDER_query_operation(DefaultProvider::get().provider, OSSL_OP_KDF, &no_cache);
         a && a->algorithm_names; ++a) {
      for (std::size_t i = 0; i < kCount; ++i) {
        if (has_name(a->algorithm_names, kNames[i])) {
          fill(tables[i], a->implementation);
          out[count++] = {a->algorithm_names, "provider=sockmi", kDispatch[i](), nullptr};
        }
      }
    }
    return out;
  }();
  return offered;
}

}  // namespace sockmi::tls
