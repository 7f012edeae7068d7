#include "tls/attachment.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "tls/registry.h"
#include "tls/wrapped.h"

namespace sockmi::tls {
namespace {

int index() {
  static const int it = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr,
                                             [](void*, void* p, CRYPTO_EX_DATA*, int, long, void*) { delete static_cast<Attachment*>(p); });
  return it;
}

// GCM in TLS 1.2 has 8 bytes of explicit nonce a record; in TLS 1.3 a byte of content type is inside.
constexpr Suite kTls13[] = {{0x1301, 16, 12, 17}, {0x1302, 32, 12, 17}, {0x1303, 32, 12, 17}};
constexpr Suite kTls12[] = {
    {0xc02b, 16, 4, 24}, {0xc02f, 16, 4, 24}, {0x009c, 16, 4, 24}, {0x009e, 16, 4, 24},   // AES-128-GCM: ECDHE-ECDSA, ECDHE-RSA, RSA, DHE-RSA
    {0xc02c, 32, 4, 24}, {0xc030, 32, 4, 24}, {0x009d, 32, 4, 24}, {0x009f, 32, 4, 24},   // AES-256-GCM
    {0xcca9, 32, 12, 16}, {0xcca8, 32, 12, 16}, {0xccaa, 32, 12, 16},                     // ChaCha20-Poly1305: ECDHE-ECDSA, ECDHE-RSA, DHE-RSA
};

OSSL_PARAM octets(const char* name, const void* data, std::size_t size) { return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(data), size); }

// In the plain library context: our own derivations must not look like libssl's.
Secret derive(const char* kdf_name, std::size_t size, const OSSL_PARAM* params) {
  EVP_KDF* kdf = EVP_KDF_fetch(Default::get().libctx, kdf_name, nullptr);
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  EVP_KDF_free(kdf);
  Secret out(size);
  // Only memory could be missing here.
  if (!context || EVP_KDF_derive(context, out.data(), size, params) != 1) std::abort();
  EVP_KDF_CTX_free(context);
  return out;
}

}  // namespace

Attachment::~Attachment() {
  for (const Secret* random : {&rehearsed_client_random, &rehearsed_server_random})
    if (!random->empty()) Registry::get().end_substitution(*random);
}

Attachment* find_attachment(const SSL* ssl) { return static_cast<Attachment*>(SSL_get_ex_data(ssl, index())); }

Attachment& attachment(SSL* ssl) {
  if (Attachment* there = find_attachment(ssl)) return *there;
  auto* made = new Attachment;
  if (!SSL_set_ex_data(ssl, index(), made)) std::abort();
  return *made;
}

void drop_attachment(SSL* ssl) {
  delete find_attachment(ssl);
  SSL_set_ex_data(ssl, index(), nullptr);
}

Secret expand_label(const EVP_MD* digest, const Secret& secret, const char* label, std::size_t size) {
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                               OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>(EVP_MD_get0_name(digest)), 0),
                               octets(OSSL_KDF_PARAM_KEY, secret.data(), secret.size()), octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
                               octets(OSSL_KDF_PARAM_LABEL, label, std::strlen(label)), OSSL_PARAM_END};
  return derive("TLS13-KDF", size, params);
}

std::pair<Keys, Keys> tls12_keys(const EVP_MD* digest, const Secret& master, const Secret& client_random, const Secret& server_random,
                                 std::size_t key_size, std::size_t iv_size) {
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>(EVP_MD_get0_name(digest)), 0),
                               octets(OSSL_KDF_PARAM_SECRET, master.data(), master.size()), octets(OSSL_KDF_PARAM_SEED, "key expansion", 13),
                               octets(OSSL_KDF_PARAM_SEED, server_random.data(), server_random.size()),
                               octets(OSSL_KDF_PARAM_SEED, client_random.data(), client_random.size()), OSSL_PARAM_END};
  const Secret block = derive("TLS1-PRF", 2 * (key_size + iv_size), params);
  auto at = block.begin();
  const auto next = [&](std::size_t size) {
    const Secret out(at, at + static_cast<std::ptrdiff_t>(size));
    at += static_cast<std::ptrdiff_t>(size);
    return out;
  };
  std::pair<Keys, Keys> keys;
  keys.first.key = next(key_size);
  keys.second.key = next(key_size);
  keys.first.iv = next(iv_size);
  keys.second.iv = next(iv_size);
  return keys;
}

const Suite* find_suite(int version, std::uint16_t id) {
  const std::span<const Suite> suites = version == TLS1_3_VERSION ? std::span<const Suite>(kTls13) : version == TLS1_2_VERSION ? std::span<const Suite>(kTls12) : std::span<const Suite>();
  const auto it = std::ranges::find(suites, id, &Suite::id);
  return it == suites.end() ? nullptr : &*it;
}

}  // namespace sockmi::tls
