// An application may itself use the algorithms that the provider replaces.
#include <array>
#include <cstring>

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "pair.h"

namespace sockmi::tls::test {
namespace {

using Kdf = OpenSslPointer<EVP_KDF, EVP_KDF_free>;
using KdfCtx = OpenSslPointer<EVP_KDF_CTX, EVP_KDF_CTX_free>;

OSSL_PARAM octets(const char* name, const char* text) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(text), std::strlen(text));
}

// Returns a context that has its digest and secret already, but not its seed.
KdfCtx prepared(OSSL_LIB_CTX* libctx) {
  const Kdf kdf(EVP_KDF_fetch(libctx, "TLS1-PRF", nullptr));
  KdfCtx ctx(EVP_KDF_CTX_new(kdf.get()));
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>("SHA256"), 0),
      octets(OSSL_KDF_PARAM_SECRET, "secret"), OSSL_PARAM_END};
  EXPECT_EQ(EVP_KDF_CTX_set_params(ctx.get(), params), 1);
  return ctx;
}

std::array<unsigned char, 48> derived(EVP_KDF_CTX* ctx) {
  std::array<unsigned char, 48> out{};
  const OSSL_PARAM params[] = {octets(OSSL_KDF_PARAM_SEED, "seed"), OSSL_PARAM_END};
  EXPECT_EQ(EVP_KDF_derive(ctx, out.data(), out.size(), params), 1);
  return out;
}

TEST(Kdf, AContextCanBeCopiedIfTheDefaultProvidersCan) {
  const KdfCtx ours = prepared(with_provider()), defaults = prepared(nullptr);
  const KdfCtx copy(EVP_KDF_CTX_dup(ours.get())), copy_of_defaults(EVP_KDF_CTX_dup(defaults.get()));
  ASSERT_EQ(copy != nullptr, copy_of_defaults != nullptr);
  const auto expected = derived(defaults.get());
  EXPECT_EQ(derived(ours.get()), expected);
  if (copy) {
    EXPECT_EQ(derived(copy.get()), expected);
  }
}

}  // namespace
}  // namespace sockmi::tls::test
