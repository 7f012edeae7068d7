// The default provider's algorithms, wrapped by our own functions: the algorithm tables
// that our provider offers.
#pragma once

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/provider.h>

#include <string_view>

#include "tls/provider/secret_registry.h"

namespace sockmi::tls {

// The default provider in a library context of our own, which nothing else uses.
struct DefaultProvider {
  OSSL_LIB_CTX* libctx;
  OSSL_PROVIDER* provider;
  void* context;
  static const DefaultProvider& get();
};

const OSSL_ALGORITHM* wrapped_ciphers();
const OSSL_ALGORITHM* wrapped_kdfs();
const OSSL_ALGORITHM* wrapped_macs();

// Casts a function to the type that OSSL_DISPATCH requires.
template <class F>
auto generic(F* f) {
  return reinterpret_cast<void (*)()>(f);
}

// One direction's part of the key block (RFC 5246, 6.3).
struct Tls12Keys {
  Secret mac, key, iv;  // mac: CBC only; iv: 4 bytes (GCM, CCM) or 12 (ChaCha20)
};
// Sets the real keys on a TLS 1.2 context that has been through a handshake replay.
bool rekey_tls12(CipherContext& context, const Tls12Keys& keys,
                 const std::array<std::uint8_t, 8>& last_explicit_nonce);
// Returns the HMAC that was keyed last on this thread, for a connection's records. Each
// HMAC is returned once; null if there is none.
std::shared_ptr<MacState> claim_mac();
bool rekey_mac(MacState& mac, const Secret& key);
// Frees the inner context. After this no record can be made or read with the context.
void disable(CipherContext& context);
inline std::uint64_t read_u64(const std::uint8_t* p) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i)
    value = value << 8 | p[i];
  return value;
}
inline void write_u64(std::uint8_t* p, std::uint64_t value) {
  for (int i = 7; i >= 0; --i, value >>= 8)
    p[i] = static_cast<std::uint8_t>(value);
}
// Returns whether `name` is one of the colon-separated names.
bool has_name(const char* names, std::string_view name);

}  // namespace sockmi::tls
