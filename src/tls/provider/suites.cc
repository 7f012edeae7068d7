#include "tls/provider/suites.h"

namespace sockmi::tls {

std::optional<Suite> find_suite(int version, const SSL_CIPHER* cipher) {
  if (version != TLS1_3_VERSION && version != TLS1_2_VERSION) return std::nullopt;
  for (const RecordCipher& each : kRecordCiphers) {
    for (const RecordDigest& digest : kRecordDigests) {
      if (each.nid != NID_undef && SSL_CIPHER_get_cipher_nid(cipher) == each.nid &&
          SSL_CIPHER_get_digest_nid(cipher) == digest.nid)
        return Suite{each.key_size, each.iv_size, digest.mac_size};
    }
  }
  return std::nullopt;
}

}  // namespace sockmi::tls
