// Passes TLS's record ciphers on to the default provider, and records their keys and
// record sequence numbers. For an endpoint that was loaded, it adds an offset to the
// sequence numbers. Nothing is locked, allocated or looked up per record.
//
// Where the sequence number is found:
//
// - TLS 1.3: libssl sets one nonce per record, which is static IV xor sequence number
//   (RFC 8446, 5.3). The first nonce after a key belongs to sequence number 0, so it is
//   the static IV itself.
// - TLS 1.2 with AEAD, or with CBC and a stitched HMAC: the additional data begin with
//   the sequence number (RFC 5246, 6.2.3.3).
// - TLS 1.2 with CBC and a separate HMAC: only the HMAC sees the number, see mac.cc. The
//   cipher context is recognized as one for records because libssl sets its TLS version.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/ssl3.h>

#include "tls/provider/dispatch.h"
#include "tls/provider/suites.h"
#include "tls/session/record_bio.h"

namespace sockmi::tls {

struct CipherTable {
  Construction construction;
  OSSL_FUNC_cipher_newctx_fn* newctx;
  OSSL_FUNC_cipher_freectx_fn* freectx;
  OSSL_FUNC_cipher_dupctx_fn* dupctx;
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

void CipherContext::note_plaintext(std::size_t size) {
  call_plaintext = errno == kGoesOn ? call_plaintext + size : size;
}

namespace {

constexpr std::size_t kAad = 13;  // sequence number (8), type, version (2), length (2)
constexpr std::size_t kBlock = 16;
CipherTable tables[kRecordCipherCount];

// Size of what a record's plaintext begins with before the application's bytes: the
// explicit nonce, or the IV of CBC.
std::size_t explicit_part(Construction construction) {
  switch (construction) {
    case Construction::Gcm:
    case Construction::Ccm: return 8;
    case Construction::ChaCha: return 0;
    case Construction::Cbc:
    case Construction::CbcStitched: return kBlock;
  }
  return 0;
}

// Returns the size of the application's content in an inner plaintext. RFC 8446, 5.2:
// content, type, zeros.
std::size_t inner_plaintext(const unsigned char* in, std::size_t size) {
  while (size > 0 && in[size - 1] == 0)
    --size;
  return size > 0 && in[size - 1] == SSL3_RT_APPLICATION_DATA ? size - 1 : 0;
}

int init(void* v, const unsigned char* key, std::size_t key_size, const unsigned char* iv,
         std::size_t iv_size, const OSSL_PARAM params[], bool encrypting) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  if (key) {
    Registry::get().gone(*c);
    c->encrypting = encrypting;
    c->own = {};
    c->has_static_iv = c->tls12 = false;
    c->mac.reset();
    Registry::get().keyed(*c, {key, key_size});
  }
  std::uint8_t nonce[12];
  if (iv && !key && iv_size == sizeof nonce) {
    if (!c->has_static_iv) std::memcpy(c->static_iv.data(), iv, sizeof nonce);
    c->has_static_iv = true;
    const std::uint64_t sequence = read_u64(iv + 4) ^ read_u64(c->static_iv.data() + 4);
    c->own.count = sequence + 1;
    if (c->own.offset != 0) {
      std::memcpy(nonce, c->static_iv.data(), sizeof nonce);
      write_u64(nonce + 4, read_u64(nonce + 4) ^ (sequence + c->own.offset));
      iv = nonce;
    }
  }
  return (encrypting ? c->table->encrypt_init : c->table->decrypt_init)(c->inner, key, key_size, iv,
                                                                        iv_size, params);
}
int encrypt_init(void* v, const unsigned char* key, std::size_t key_size, const unsigned char* iv,
                 std::size_t iv_size, const OSSL_PARAM params[]) {
  return init(v, key, key_size, iv, iv_size, params, true);
}
int decrypt_init(void* v, const unsigned char* key, std::size_t key_size, const unsigned char* iv,
                 std::size_t iv_size, const OSSL_PARAM params[]) {
  return init(v, key, key_size, iv, iv_size, params, false);
}

// Called before a record is encrypted. Records how much of it is the application's. For
// AEAD in TLS 1.2 this is known already from the additional data.
void note_plaintext(CipherContext& c, const unsigned char* in, std::size_t size) {
  if (!c.encrypting || !in) return;
  if (c.has_static_iv && !c.tls12) c.note_plaintext(inner_plaintext(in, size));
  if (c.mac) c.note_plaintext(size >= kBlock + c.mac_size ? size - kBlock - c.mac_size : 0);
}
// Called after a record is encrypted. A TLS 1.2 GCM record begins with the explicit nonce
// that the default provider has chosen for it.
void note_nonce(CipherContext& c, int done, const unsigned char* record) {
  if (done > 0 && c.tls12 && c.encrypting && record && c.table->construction == Construction::Gcm)
    std::memcpy(c.explicit_nonce.data(), record, c.explicit_nonce.size());
}

int update(void* v, unsigned char* out, std::size_t* out_size, std::size_t room,
           const unsigned char* in, std::size_t size) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  if (out) note_plaintext(*c, in, size);
  const int done = c->table->update(c->inner, out, out_size, room, in, size);
  note_nonce(*c, done, out);
  return done;
}
int final(void* v, unsigned char* out, std::size_t* out_size, std::size_t room) {
  auto* c = static_cast<CipherContext*>(v);
  return c->inner && c->table->final(c->inner, out, out_size, room);
}
int cipher(void* v, unsigned char* out, std::size_t* out_size, std::size_t room,
           const unsigned char* in, std::size_t size) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  if (out) note_plaintext(*c, in, size);
  const int done = c->table->cipher(c->inner, out, out_size, room, in, size);
  note_nonce(*c, done, out);
  return done;
}

int get_ctx_params(void* v, OSSL_PARAM params[]) {
  auto* c = static_cast<CipherContext*>(v);
  return c->inner && c->table->get_ctx_params(c->inner, params);
}
// libssl sets the TLS version and the MAC size on a CBC cipher that processes records.
// The cipher handles padding and MAC accordingly.
void note_tls(CipherContext& c, const OSSL_PARAM params[]) {
  if (!OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_TLS_VERSION)) return;
  const OSSL_PARAM* mac_size = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_TLS_MAC_SIZE);
  c.mac_size = 0;
  if (mac_size) OSSL_PARAM_get_size_t(mac_size, &c.mac_size);
  c.mac = claim_mac();
  if (!c.mac) return;
  c.tls12 = true;
  Registry::get().working(c);
}

int set_ctx_params(void* v, const OSSL_PARAM params[]) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c->inner) return 0;
  if (c->table->construction == Construction::Cbc) note_tls(*c, params);
  const OSSL_PARAM* aad = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD);
  if (!aad || aad->data_size != kAad) return c->table->set_ctx_params(c->inner, params);
  std::uint8_t moved[kAad];
  std::memcpy(moved, aad->data, kAad);
  if (!std::exchange(c->tls12, true)) Registry::get().working(*c);
  c->own.count = read_u64(moved) + 1;
  write_u64(moved, c->own.next() - 1);
  const std::size_t length = std::size_t(moved[11]) << 8 | moved[12],
                    explicit_size = explicit_part(c->table->construction);
  c->note_plaintext(
      moved[8] == SSL3_RT_APPLICATION_DATA && length >= explicit_size ? length - explicit_size : 0);
  const OSSL_PARAM given[] = {
      OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, moved, kAad),
      OSSL_PARAM_END};
  return c->table->set_ctx_params(c->inner, given);
}

template <std::size_t I>
void* new_context(void*) {
  auto* c = new CipherContext;
  c->table = &tables[I];
  c->inner = tables[I].newctx(DefaultProvider::get().context);
  if (Scope* scope = Scope::current()) {
    c->dummy = scope->dummy;
    if (!c->dummy) scope->contexts.push_back(c);
  }
  return c;
}
void free_context(void* v) {
  auto* c = static_cast<CipherContext*>(v);
  if (!c) return;
  if (Scope* scope = Scope::current()) std::erase(scope->contexts, c);
  disable(*c);
  delete c;
}
// Only applications copy contexts. A copy belongs to no connection: libssl does not copy
// contexts for records.
void* duplicate(void* v) {
  const auto* c = static_cast<const CipherContext*>(v);
  if (!c->inner) return nullptr;
  auto* copy = new CipherContext;
  copy->table = c->table;
  copy->encrypting = c->encrypting;
  copy->inner = c->table->dupctx(c->inner);
  if (copy->inner) return copy;
  delete copy;
  return nullptr;
}
// With "multiblock" a stitched cipher encrypts several records in one call, which we
// could not count. So libssl is told that the cipher does not have it.
template <std::size_t I>
int get_params(OSSL_PARAM params[]) {
  if (!tables[I].get_params(params)) return 0;
  OSSL_PARAM* multiblock = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK);
  return !multiblock || OSSL_PARAM_set_int(multiblock, 0);
}
template <std::size_t I>
const OSSL_PARAM* gettable(void*) {
  return tables[I].gettable_params(DefaultProvider::get().context);
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
  static const std::vector<OSSL_DISPATCH> table = [] {
    std::vector<OSSL_DISPATCH> out{
        {OSSL_FUNC_CIPHER_NEWCTX, generic(new_context<I>)},
        {OSSL_FUNC_CIPHER_FREECTX, generic(free_context)},
        {OSSL_FUNC_CIPHER_ENCRYPT_INIT, generic(encrypt_init)},
        {OSSL_FUNC_CIPHER_DECRYPT_INIT, generic(decrypt_init)},
        {OSSL_FUNC_CIPHER_UPDATE, generic(update)},
        {OSSL_FUNC_CIPHER_FINAL, generic(final)},
        {OSSL_FUNC_CIPHER_CIPHER, generic(cipher)},
        {OSSL_FUNC_CIPHER_GET_PARAMS, generic(get_params<I>)},
        {OSSL_FUNC_CIPHER_GET_CTX_PARAMS, generic(get_ctx_params)},
        {OSSL_FUNC_CIPHER_SET_CTX_PARAMS, generic(set_ctx_params)},
        {OSSL_FUNC_CIPHER_GETTABLE_PARAMS, generic(gettable<I>)},
        {OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, generic(gettable_ctx<I>)},
        {OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, generic(settable_ctx<I>)}};
    if (tables[I].dupctx) out.push_back({OSSL_FUNC_CIPHER_DUPCTX, generic(duplicate)});
    out.push_back({0, nullptr});
    return out;
  }();
  return table.data();
}
template <std::size_t... I>
const OSSL_DISPATCH* dispatch_of(std::size_t i, std::index_sequence<I...>) {
  static constexpr const OSSL_DISPATCH* (*kAll[])() = {dispatch<I>...};
  return kAll[i]();
}

void fill(CipherTable& table, const OSSL_DISPATCH* d) {
  for (; d->function_id; ++d) {
    switch (d->function_id) {
      case OSSL_FUNC_CIPHER_NEWCTX: table.newctx = OSSL_FUNC_cipher_newctx(d); break;
      case OSSL_FUNC_CIPHER_FREECTX: table.freectx = OSSL_FUNC_cipher_freectx(d); break;
      case OSSL_FUNC_CIPHER_DUPCTX: table.dupctx = OSSL_FUNC_cipher_dupctx(d); break;
      case OSSL_FUNC_CIPHER_ENCRYPT_INIT:
        table.encrypt_init = OSSL_FUNC_cipher_encrypt_init(d);
        break;
      case OSSL_FUNC_CIPHER_DECRYPT_INIT:
        table.decrypt_init = OSSL_FUNC_cipher_decrypt_init(d);
        break;
      case OSSL_FUNC_CIPHER_UPDATE: table.update = OSSL_FUNC_cipher_update(d); break;
      case OSSL_FUNC_CIPHER_FINAL: table.final = OSSL_FUNC_cipher_final(d); break;
      case OSSL_FUNC_CIPHER_CIPHER: table.cipher = OSSL_FUNC_cipher_cipher(d); break;
      case OSSL_FUNC_CIPHER_GET_PARAMS: table.get_params = OSSL_FUNC_cipher_get_params(d); break;
      case OSSL_FUNC_CIPHER_GET_CTX_PARAMS:
        table.get_ctx_params = OSSL_FUNC_cipher_get_ctx_params(d);
        break;
      case OSSL_FUNC_CIPHER_SET_CTX_PARAMS:
        table.set_ctx_params = OSSL_FUNC_cipher_set_ctx_params(d);
        break;
      case OSSL_FUNC_CIPHER_GETTABLE_PARAMS:
        table.gettable_params = OSSL_FUNC_cipher_gettable_params(d);
        break;
      case OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS:
        table.gettable_ctx_params = OSSL_FUNC_cipher_gettable_ctx_params(d);
        break;
      case OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS:
        table.settable_ctx_params = OSSL_FUNC_cipher_settable_ctx_params(d);
        break;
      default: break;
    }
  }
}

}  // namespace

void disable(CipherContext& context) {
  Registry::get().gone(context);
  if (context.inner) context.table->freectx(std::exchange(context.inner, nullptr));
  if (context.mac) (void)rekey_mac(*context.mac, Secret(32));
  context.secret = Key();
  context.tls12 = false;
}

bool rekey_tls12(CipherContext& context, const Tls12Keys& keys,
                 const std::array<std::uint8_t, 8>& last_explicit_nonce) {
  const Construction construction = context.table->construction;
  const auto inner_init =
      context.encrypting ? context.table->encrypt_init : context.table->decrypt_init;
  // Every record brings its own IV: the first block of a CBC record has no meaning.
  static constexpr std::uint8_t kAnyIv[kBlock] = {};
  const bool whole_iv = construction == Construction::ChaCha,
             cbc = construction == Construction::Cbc || construction == Construction::CbcStitched;
  const std::uint8_t* iv = whole_iv ? keys.iv.data() : cbc ? kAnyIv : nullptr;
  if (!inner_init(context.inner, keys.key.data(), keys.key.size(), iv,
                  whole_iv ? keys.iv.size()
                  : cbc    ? kBlock
                           : 0,
                  nullptr))
    return false;
  const auto set_octets = [&](const char* name, const Secret& value, std::size_t size) {
    const OSSL_PARAM given[] = {
        OSSL_PARAM_construct_octet_string(name, const_cast<std::uint8_t*>(value.data()), size),
        OSSL_PARAM_END};
    return context.table->set_ctx_params(context.inner, given) == 1;
  };
  if (construction == Construction::Gcm || construction == Construction::Ccm) {
    Secret fixed = keys.iv;
    std::size_t size = fixed.size();
    if (construction == Construction::Gcm && context.encrypting) {
      // An explicit nonce must not be used twice with a key (RFC 5288, 3), so ours
      // continue after the last one. Size -1 sets the whole IV. (CCM uses the sequence
      // number.)
      fixed.resize(12);
      write_u64(fixed.data() + 4, read_u64(last_explicit_nonce.data()) + 1);
      size = static_cast<std::size_t>(-1);
    }
    if (!set_octets(OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, fixed, size)) return false;
  }
  if (construction == Construction::CbcStitched &&
      !set_octets(OSSL_CIPHER_PARAM_AEAD_MAC_KEY, keys.mac, keys.mac.size()))
    return false;
  if (context.mac && !rekey_mac(*context.mac, keys.mac)) return false;
  Registry::get().gone(context);
  context.secret = Key(keys.key);
  context.explicit_nonce = last_explicit_nonce;
  Registry::get().working(context);
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
    static OSSL_ALGORITHM out[kRecordCipherCount + 1];
    std::size_t count = 0;
    int no_cache = 0;
    for (const OSSL_ALGORITHM* a = OSSL_PROVIDER_query_operation(DefaultProvider::get().provider,
                                                                 OSSL_OP_CIPHER, &no_cache);
         a && a->algorithm_names; ++a) {
      for (std::size_t i = 0; i < kRecordCipherCount; ++i) {
        if (has_name(a->algorithm_names, kRecordCiphers[i].name)) {
          tables[i].construction = kRecordCiphers[i].construction;
          fill(tables[i], a->implementation);
          // All names of the cipher: libssl uses the name that OBJ_nid2sn returns.
          out[count++] = {a->algorithm_names, "provider=sockmi",
                          dispatch_of(i, std::make_index_sequence<kRecordCipherCount>()), nullptr};
        }
      }
    }
    return out;
  }();
  return offered;
}

}  // namespace sockmi::tls
