// The table of the ciphers that protect TLS records. A connection can move if its cipher
// suite uses one of them: an established session does not need its key exchange and its
// authentication any more.
#pragma once

#include <openssl/obj_mac.h>
#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>

namespace sockmi::tls {

// How a record is built. cipher.cc has the layout of each.
enum class Construction : std::uint8_t { Gcm, Ccm, ChaCha, Cbc, CbcStitched };

struct RecordCipher {
  const char* name;  // OpenSSL's name of the algorithm
  Construction construction;
  // That of the suites which use it. NID_undef: no suite is named after it. OpenSSL uses
  // it for suites of AES-CBC instead of a separate cipher and HMAC, if the processor can.
  int nid = NID_undef;
  std::size_t key_size = 0;
  std::size_t iv_size = 0;  // bytes of TLS 1.2's key block: the part that does not change
};

// tests/unit/tls/suites_test.cc compares it with docs/tls.md.
inline constexpr RecordCipher kRecordCiphers[] = {
    {"AES-128-GCM", Construction::Gcm, NID_aes_128_gcm, 16, 4},
    {"AES-256-GCM", Construction::Gcm, NID_aes_256_gcm, 32, 4},
    {"AES-128-CCM", Construction::Ccm, NID_aes_128_ccm, 16, 4},
    {"AES-256-CCM", Construction::Ccm, NID_aes_256_ccm, 32, 4},
    {"ChaCha20-Poly1305", Construction::ChaCha, NID_chacha20_poly1305, 32, 12},
    {"AES-128-CBC", Construction::Cbc, NID_aes_128_cbc, 16, 16},
    {"AES-256-CBC", Construction::Cbc, NID_aes_256_cbc, 32, 16},
    {"AES-128-CBC-HMAC-SHA1", Construction::CbcStitched},
    {"AES-256-CBC-HMAC-SHA1", Construction::CbcStitched},
    {"AES-128-CBC-HMAC-SHA256", Construction::CbcStitched},
    {"AES-256-CBC-HMAC-SHA256", Construction::CbcStitched},
};
inline constexpr std::size_t kRecordCipherCount = std::size(kRecordCiphers);

// The digests of separate MACs, as suites of CBC have them.
struct RecordDigest {
  int nid;
  std::size_t mac_size;
};
inline constexpr RecordDigest kRecordDigests[] = {
    {NID_undef, 0},  // AEAD
    {NID_sha1, 20},
    {NID_sha256, 32},
    {NID_sha384, 48},
};

// The sizes of each direction's part of TLS 1.2's key block.
struct Suite {
  std::size_t key_size, iv_size;
  std::size_t mac_size = 0;  // CBC
};
// nullopt: a connection with this version and cipher cannot move.
std::optional<Suite> find_suite(int version, const SSL_CIPHER* cipher);

}  // namespace sockmi::tls
