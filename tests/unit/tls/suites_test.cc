// Compares the table of record ciphers with OpenSSL, with the suites that other tests
// use, and with docs/tls.md.
#include "tls/provider/suites.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "cases.h"

namespace sockmi::tls::test {
namespace {

// The suite that a test case uses; it must outlive the returned SSL_CTX.
const SSL_CIPHER* cipher_of(SSL_CTX* ctx, const Case& one) {
  const STACK_OF(SSL_CIPHER)* ciphers = SSL_CTX_get_ciphers(ctx);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i)
    if (std::string_view(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i))) == one.suite)
      return sk_SSL_CIPHER_value(ciphers, i);
  return nullptr;
}

CtxPtr with_all_ciphers() {
  CtxPtr ctx(SSL_CTX_new(TLS_method()));
  EXPECT_EQ(SSL_CTX_set_cipher_list(ctx.get(), "ALL:COMPLEMENTOFALL:@SECLEVEL=0"), 1);
  EXPECT_EQ(SSL_CTX_set_ciphersuites(ctx.get(),
                                     "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                     "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:"
                                     "TLS_AES_128_CCM_8_SHA256"),
            1);
  return ctx;
}

// What `nid_of` returns for the suites of all test cases.
std::set<int> tested(int (*nid_of)(const SSL_CIPHER*)) {
  const CtxPtr ctx = with_all_ciphers();
  std::set<int> out;
  for (const Case& each : kCases) {
    const SSL_CIPHER* cipher = cipher_of(ctx.get(), each);
    EXPECT_TRUE(cipher) << each.name;
    if (cipher) out.insert(nid_of(cipher));
  }
  return out;
}

TEST(RecordCiphers, ATestCaseUsesEach) {
  const std::set<int> nids = tested(SSL_CIPHER_get_cipher_nid);

  for (const RecordCipher& each : kRecordCiphers)
    if (each.nid != NID_undef) {
      EXPECT_TRUE(nids.contains(each.nid)) << each.name;
    }
}

TEST(RecordCiphers, ATestCaseUsesEachDigest) {
  const std::set<int> nids = tested(SSL_CIPHER_get_digest_nid);

  for (const RecordDigest& each : kRecordDigests)
    EXPECT_TRUE(nids.contains(each.nid)) << OBJ_nid2sn(each.nid);
}

TEST(RecordCiphers, TheProviderHasWhatLibsslLooksFor) {
  for (const RecordCipher& each : kRecordCiphers) {
    const char* name = each.nid == NID_undef ? each.name : OBJ_nid2sn(each.nid);
    EVP_CIPHER* original = EVP_CIPHER_fetch(nullptr, name, "provider=default");
    EVP_CIPHER* wrapped = EVP_CIPHER_fetch(with_provider(), name, "provider=sockmi");

    // Without the processor's AES instructions OpenSSL has no stitched ciphers.
    EXPECT_EQ(bool(wrapped), bool(original)) << name;
    EXPECT_TRUE(wrapped || each.nid == NID_undef) << name;
    if (wrapped && each.nid != NID_undef) {
      EXPECT_EQ(static_cast<std::size_t>(EVP_CIPHER_get_key_length(wrapped)), each.key_size)
          << name;
    }
    EVP_CIPHER_free(original);
    EVP_CIPHER_free(wrapped);
  }
}

TEST(RecordCiphers, TheDocumentNamesAll) {
  std::ifstream document(std::filesystem::path(SOCKMI_SOURCE) / "docs/tls.md");
  const std::string begin = "| ciphers of records |";
  std::set<std::string> named, expected;
  for (std::string line; std::getline(document, line);) {
    if (!line.starts_with(begin)) continue;
    std::ranges::replace_if(
        line, [](char c) { return std::strchr(",;|()", c) != nullptr; }, ' ');
    std::istringstream words(line);
    for (std::string word; words >> word;)
      if (word.find('-') != word.npos) named.insert(word);
  }
  for (const RecordCipher& each : kRecordCiphers)
    expected.insert(each.name);

  EXPECT_EQ(named, expected);
}

}  // namespace
}  // namespace sockmi::tls::test
