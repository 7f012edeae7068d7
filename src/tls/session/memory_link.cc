#include "tls/session/memory_link.h"

namespace sockmi::tls {

bool connect_in_memory(SSL* a, SSL* b) {
  BIO *one = nullptr, *other = nullptr;
  constexpr std::size_t kMaxFlightBytes = 1 << 16;  // enough for any flight of messages
  if (!BIO_new_bio_pair(&one, kMaxFlightBytes, &other, kMaxFlightBytes)) return false;
  SSL_set_bio(a, one, one);
  SSL_set_bio(b, other, other);
  return true;
}

}  // namespace sockmi::tls
