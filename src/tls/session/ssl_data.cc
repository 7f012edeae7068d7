#include "tls/session/ssl_data.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "tls/provider/dispatch.h"
#include "tls/provider/secret_registry.h"
#include "tls/tls.h"

namespace sockmi::tls {
namespace {

int index() {
  static const int it = SSL_get_ex_new_index(
      0, nullptr, nullptr, nullptr,
      [](void*, void* p, CRYPTO_EX_DATA*, int, long, void*) { delete static_cast<SslData*>(p); });
  return it;
}

OSSL_PARAM octets(const char* name, const void* data, std::size_t size) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(data), size);
}

// Derives in the plain library context: our own derivations must not be recorded as
// libssl's.
Secret derive(const char* kdf_name, std::size_t size, const OSSL_PARAM* params) {
  EVP_KDF* kdf = EVP_KDF_fetch(DefaultProvider::get().libctx, kdf_name, nullptr);
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  EVP_KDF_free(kdf);
  Secret out(size);
  // This can fail only if memory is short.
  if (!context || EVP_KDF_derive(context, out.data(), size, params) != 1) std::abort();
  EVP_KDF_CTX_free(context);
  return out;
}

}  // namespace

SslData::~SslData() {
  for (const Secret* random : {&replayed_client_random, &replayed_server_random})
    if (!random->empty()) Registry::get().end_substitution(*random);
}

SslData* find_attachment(const SSL* ssl) {
  return static_cast<SslData*>(SSL_get_ex_data(ssl, index()));
}

SslData& attachment(SSL* ssl) {
  if (SslData* there = find_attachment(ssl)) return *there;
  auto* made = new SslData;
  if (!SSL_set_ex_data(ssl, index(), made)) std::abort();
  return *made;
}

void drop_attachment(SSL* ssl) {
  delete find_attachment(ssl);
  SSL_set_ex_data(ssl, index(), nullptr);
}

bool is_retired(const SSL* ssl) {
  const SslData* kept = find_attachment(ssl);
  return kept && kept->spent && !SSL_get_rbio(ssl);
}

Secret client_random_of(const SSL* ssl) {
  Secret random(SSL3_RANDOM_SIZE);
  SSL_get_client_random(ssl, random.data(), random.size());
  return random;
}

std::pair<Tls12Keys, Tls12Keys> tls12_keys(const SSL_CIPHER* cipher, const Suite& suite,
                                           const Secret& master, const Secret& client_random,
                                           const Secret& server_random) {
  // Suites older than TLS 1.2 name the digest of their time; in TLS 1.2 they use SHA-256
  // (RFC 5246, 5).
  const EVP_MD* named = SSL_CIPHER_get_handshake_digest(cipher);
  const char* digest = named && EVP_MD_is_a(named, "SHA384") ? "SHA384" : "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>(digest), 0),
      octets(OSSL_KDF_PARAM_SECRET, master.data(), master.size()),
      octets(OSSL_KDF_PARAM_SEED, "key expansion", 13),
      octets(OSSL_KDF_PARAM_SEED, server_random.data(), server_random.size()),
      octets(OSSL_KDF_PARAM_SEED, client_random.data(), client_random.size()),
      OSSL_PARAM_END};
  const Secret block =
      derive("TLS1-PRF", 2 * (suite.mac_size + suite.key_size + suite.iv_size), params);
  auto at = block.begin();
  std::pair<Tls12Keys, Tls12Keys> keys;
  const std::pair<Secret Tls12Keys::*, std::size_t> parts[] = {{&Tls12Keys::mac, suite.mac_size},
                                                               {&Tls12Keys::key, suite.key_size},
                                                               {&Tls12Keys::iv, suite.iv_size}};
  for (const auto& [part, size] : parts) {
    for (Tls12Keys* side : {&keys.first, &keys.second}) {
      (side->*part).assign(at, at + static_cast<std::ptrdiff_t>(size));
      at += static_cast<std::ptrdiff_t>(size);
    }
  }
  return keys;
}

}  // namespace sockmi::tls
