// AES-GCM and ChaCha20-Poly1305, handed on to the default provider; in passing, keys and record sequence numbers are seen, and for an
// endpoint that was loaded, moved on. Nothing is locked, allocated or looked up per record.
//
// TLS 1.3: libssl sets a nonce a record, static IV xor sequence number (RFC 8446, 5.3); the first nonce after a key is that of sequence 0, the
// static IV itself. TLS 1.2: the additional data begin with the sequence number (RFC 5246, 6.2.3.3).
#include <algorithm>
#include <cstring>
#include <string_view>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "tls/wrapped.h"

namespace sockmi::tls {

struct CipherTable {
  OSSL_FUNC_cipher_newctx_fn* newctx;
  OSSL_FUNC_cipher_freectx_fn* freectx;
  OSSL_FUNC_cipher_encrypt_init_fn* encrypt_init;
  OSSL_FUNC_cipher_decrypt_init_fn* decrypt_init;
  OSSL_FUNC_cipher_update_fn* update;
  OSSL_FUNC_cipher_final_fn* final;
  OSSL_FUNC_cipher_cipher_fn* cipher;
  OSSL_FUNC_cipher_get_params_fn* get_params;
  OSSL_FUNC_cipher_get_ctx_params_fn* get_ctx_params;
  OSSL_FUNC_cipher_set_ctx_params_fn* set_ctx_params;
  OSSL_FUNC_cipher_gettable_params_fn* gettable_params;
  OSSL_FUNC_cipher_gettable_ctx_params_fn* gettable_ctx_params;
  OSSL_FUNC_cipher_settable_ctx_params_fn* settable_ctx_params;
};

namespace {

constexpr const char* kNames[] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
constexpr std::size_t kCount = std::size(kNames);
constexpr std::size_t kAad = 13;
CipherTable tables[kCount];

std::uint64_t read_u64(const std::uint8_t* p) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | p[i];
  return value;
}
void write_u64(std::uint8_t* p, std::uint64_t value) {
  for (int i = 7; i >= 0; --i, value >>= 8) p[i] = static_cast<std::uint8_t>(value);
}

int init(void* v, const unsigned char* key, std::size_t key_size, const unsigned char* iv, std::size_t iv_size, const OSSL_PARAM params[], bool encrypting) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  if (key) {
    Registry::get().gone(*c);
    c->encrypting = encrypting;
    c->key.assign(key, key + key_size);
    c->count = c->offset = 0;
    c->has_static_iv = c->tls12 = false;
    Registry::get().keyed(*c);
  }
  std::uint8_t nonce[12];
  if (iv && !key && iv_size == sizeof nonce) {
    if (!c->has_static_iv) std::memcpy(c->static_iv.data(), iv, sizeof nonce);
    c->has_static_iv = true;
    const std::uint64_t sequence = read_u64(iv + 4) ^ read_u64(c->static_iv.data() + 4);
    c->count = sequence + 1;
    if (c->offset != 0) {
      std::memcpy(nonce, c->static_iv.data(), sizeof nonce);
      write_u64(nonce + 4, read_u64(nonce + 4) ^ (sequence + c->offset));
      iv = nonce;
    }
  }
  return (encrypting ? c->table->encrypt_init : c->table->decrypt_init)(c->inner, key, key_size, iv, iv_size, params);
}
int encrypt_init(void* v, const unsigned char* key, std::size_t key_size, const unsigned char* iv, std::size_t iv_size, const OSSL_PARAM params[]) {
  return init(v, key, key_size, iv, iv_size, params, true);
}
int decrypt_init(void* v, const unsigned char* key, std::size_t key_size, const unsigned char* iv, std::size_t iv_size, const OSSL_PARAM params[]) {
  return init(v, key, key_size, iv, iv_size, params, false);
}

// A TLS 1.2 GCM record begins with the explicit nonce that the default provider chose for it.
void note_nonce(CipherContext& c, int done, const unsigned char* record) {
  if (done > 0 && c.tls12 && c.encrypting && record) std::memcpy(c.explicit_nonce.data(), record, c.explicit_nonce.size());
}

int update(void* v, unsigned char* out, std::size_t* out_size, std::size_t room, const unsigned char* in, std::size_t size) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  const int done = c->table->update(c->inner, out, out_size, room, in, size);
  note_nonce(*c, done, out);
  return done;
}
int final(void* v, unsigned char* out, std::size_t* out_size, std::size_t room) {
  auto* c = static_cast<CipherContext*>(v);
  return c->inner && c->table->final(c->inner, out, out_size, room);
}
int cipher(void* v, unsigned char* out, std::size_t* out_size, std::size_t room, const unsigned char* in, std::size_t size) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  const int done = c->table->cipher(c->inner, out, out_size, room, in, size);
  note_nonce(*c, done, out);
  return done;
}

int get_ctx_params(void* v, OSSL_PARAM params[]) {
  auto* c = static_cast<CipherContext*>(v);
  return c->inner && c->table->get_ctx_params(c->inner, params);
}
int set_ctx_params(void* v, const OSSL_PARAM params[]) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  const OSSL_PARAM* aad = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD);
  if (!aad || aad->data_size != kAad) return c->table->set_ctx_params(c->inner, params);
  std::uint8_t moved[kAad];
  std::memcpy(moved, aad->data, kAad);
  c->tls12 = true;
  c->count = read_u64(moved) + 1;
  write_u64(moved, c->next() - 1);
  const OSSL_PARAM given[] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, moved, kAad), OSSL_PARAM_END};
  return c->table->set_ctx_params(c->inner, given);
}

template <std::size_t I>
void* new_context(void*) {
  auto* c = new CipherContext;
  c->table = &tables[I];
  c->inner = tables[I].newctx(Default::get().context);
  if (Scope* scope = Scope::current()) scope->contexts.push_back(c);
  return c;
}
void free_context(void* v) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c) return;
  if (Scope* scope = Scope::current()) std::erase(scope->contexts, c);
  disable(*c);
  delete c;
}
template <std::size_t I>
int get_params(OSSL_PARAM params[]) { return tables[I].get_params(params); }
template <std::size_t I>
const OSSL_PARAM* gettable(void*) { return tables[I].gettable_params(Default::get().context); }
template <std::size_t I>
const OSSL_PARAM* gettable_ctx(void*, void*) { return tables[I].gettable_ctx_params(nullptr, Default::get().context); }
template <std::size_t I>
const OSSL_PARAM* settable_ctx(void*, void*) { return tables[I].settable_ctx_params(nullptr, Default::get().context); }

using Function = void (*)();
template <class F>
Function generic(F* f) { return reinterpret_cast<Function>(f); }

template <std::size_t I>
const OSSL_DISPATCH* dispatch() {
  static const OSSL_DISPATCH table[] = {
      {OSSL_FUNC_CIPHER_NEWCTX, generic(new_context<I>)},           {OSSL_FUNC_CIPHER_FREECTX, generic(free_context)},
      {OSSL_FUNC_CIPHER_ENCRYPT_INIT, generic(encrypt_init)},       {OSSL_FUNC_CIPHER_DECRYPT_INIT, generic(decrypt_init)},
      {OSSL_FUNC_CIPHER_UPDATE, generic(update)},                   {OSSL_FUNC_CIPHER_FINAL, generic(final)},
      {OSSL_FUNC_CIPHER_CIPHER, generic(cipher)},                   {OSSL_FUNC_CIPHER_GET_PARAMS, generic(get_params<I>)},
      {OSSL_FUNC_CIPHER_GET_CTX_PARAMS, generic(get_ctx_params)},   {OSSL_FUNC_CIPHER_SET_CTX_PARAMS, generic(set_ctx_params)},
      {OSSL_FUNC_CIPHER_GETTABLE_PARAMS, generic(gettable<I>)},     {OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, generic(gettable_ctx<I>)},
      {OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, generic(settable_ctx<I>)}, {0, nullptr}};
  return table;
}
constexpr const OSSL_DISPATCH* (*kDispatch[])() = {dispatch<0>, dispatch<1>, dispatch<2>};

void fill(CipherTable& table, const OSSL_DISPATCH* d) {
  for (; d->function_id; ++d) switch (d->function_id) {
      case OSSL_FUNC_CIPHER_NEWCTX: table.newctx = OSSL_FUNC_cipher_newctx(d); break;
      case OSSL_FUNC_CIPHER_FREECTX: table.freectx = OSSL_FUNC_cipher_freectx(d); break;
      case OSSL_FUNC_CIPHER_ENCRYPT_INIT: table.encrypt_init = OSSL_FUNC_cipher_encrypt_init(d); break;
      case OSSL_FUNC_CIPHER_DECRYPT_INIT: table.decrypt_init = OSSL_FUNC_cipher_decrypt_init(d); break;
      case OSSL_FUNC_CIPHER_UPDATE: table.update = OSSL_FUNC_cipher_update(d); break;
      case OSSL_FUNC_CIPHER_FINAL: table.final = OSSL_FUNC_cipher_final(d); break;
      case OSSL_FUNC_CIPHER_CIPHER: table.cipher = OSSL_FUNC_cipher_cipher(d); break;
      case OSSL_FUNC_CIPHER_GET_PARAMS: table.get_params = OSSL_FUNC_cipher_get_params(d); break;
      case OSSL_FUNC_CIPHER_GET_CTX_PARAMS: table.get_ctx_params = OSSL_FUNC_cipher_get_ctx_params(d); break;
      case OSSL_FUNC_CIPHER_SET_CTX_PARAMS: table.set_ctx_params = OSSL_FUNC_cipher_set_ctx_params(d); break;
      case OSSL_FUNC_CIPHER_GETTABLE_PARAMS: table.gettable_params = OSSL_FUNC_cipher_gettable_params(d); break;
      case OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS: table.gettable_ctx_params = OSSL_FUNC_cipher_gettable_ctx_params(d); break;
      case OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS: table.settable_ctx_params = OSSL_FUNC_cipher_settable_ctx_params(d); break;
      default: break;
    }
}

}  // namespace

void disable(CipherContext& context) {
  Registry::get().gone(context);
  if (context.inner) context.table->freectx(std::exchange(context.inner, nullptr));
  context.key = Secret();
  context.connection.reset();
}

bool rekey_tls12(CipherContext& context, const Secret& key, const Secret& fixed_iv, const std::array<std::uint8_t, 8>& last_explicit_nonce) {
  const auto inner_init = context.encrypting ? context.table->encrypt_init : context.table->decrypt_init;
  const bool gcm = fixed_iv.size() == 4;
  if (!inner_init(context.inner, key.data(), key.size(), gcm ? nullptr : fixed_iv.data(), gcm ? 0 : fixed_iv.size(), nullptr)) return false;
  if (gcm) {
    Secret iv = fixed_iv;
    std::size_t size = iv.size();
    if (context.encrypting) {
      // No explicit nonce may be used twice under a key (RFC 5288, 3): ours go on behind the last. Size -1 sets the IV whole.
      iv.resize(12);
      write_u64(iv.data() + 4, read_u64(last_explicit_nonce.data()) + 1);
      size = static_cast<std::size_t>(-1);
    }
    const OSSL_PARAM given[] = {OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, iv.data(), size), OSSL_PARAM_END};
    if (!context.table->set_ctx_params(context.inner, given)) return false;
  }
  Registry::get().gone(context);
  context.key = key;
  context.explicit_nonce = last_explicit_nonce;
  Registry::get().keyed(context);
  return true;
}

bool has_name(const char* names, std::string_view name) {
  for (std::string_view rest = names; !rest.empty();) {
    const auto one = rest.substr(0, rest.find(':'));
    if (one == name) return true;
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
  }
  return false;
}

const OSSL_ALGORITHM* wrapped_ciphers() {
  static const OSSL_ALGORITHM* offered = [] {
    static OSSL_ALGORITHM out[kCount + 1];
    std::size_t count = 0;
    int no_cache = 0;
    for (const OSSL_ALGORITHM* a = OSSL_PROVIDER_query_operation(Default::get().provider, OSSL_OP_CIPHER, &no_cache); a && a->algorithm_names; ++a)
      for (std::size_t i = 0; i < kCount; ++i)
        if (has_name(a->algorithm_names, kNames[i])) {
          fill(tables[i], a->implementation);
          // All its names: libssl asks by OBJ_nid2sn's.
          out[count++] = {a->algorithm_names, "provider=sockmi", kDispatch[i](), nullptr};
        }
    return out;
  }();
  return offered;
}

}  // namespace sockmi::tls
