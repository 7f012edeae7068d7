// The default provider's algorithms with ours around them: tables for the provider to offer.
#pragma once

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/provider.h>

#include <string_view>

#include "tls/registry.h"

namespace sockmi::tls {

// The default provider in a library context of our own, which nothing else uses.
struct Default {
  OSSL_LIB_CTX* libctx;
  OSSL_PROVIDER* provider;
  void* context;
  static const Default& get();
};

const OSSL_ALGORITHM* wrapped_ciphers();
const OSSL_ALGORITHM* wrapped_kdfs();

// Gives a TLS 1.2 context, as a rehearsal has left it, the real keys. `fixed_iv` has 4 (GCM) or 12 bytes (ChaCha20).
bool rekey_tls12(CipherContext& context, const Secret& key, const Secret& fixed_iv, const std::array<std::uint8_t, 8>& last_explicit_nonce);
// Frees the inner context: no record can be made or read with it any more.
void disable(CipherContext& context);
// Whether `name` is one of the colon-separated names.
bool has_name(const char* names, std::string_view name);

}  // namespace sockmi::tls
