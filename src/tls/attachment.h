// What we keep with an SSL: what its BIO is to get, and what libssl will not tell after a load.
#pragma once

#include <openssl/ssl.h>

#include "base/secret.h"

namespace sockmi::tls {

struct Attachment {
  Bytes waiting, unsent;       // for a record BIO that is not there yet
  std::size_t write_taken = 0;
  // TLS 1.2, loaded here: the randoms of the real handshake, and those of the rehearsal, for which the provider puts the real ones.
  Secret client_random, server_random, rehearsed_client_random, rehearsed_server_random;
  ~Attachment();
};

Attachment* find_attachment(const SSL* ssl);  // null: none
Attachment& attachment(SSL* ssl);             // made if there is none; dies with the SSL
void drop_attachment(SSL* ssl);

// --- randoms and keys of TLS 1.2, and keys of TLS 1.3, computed beside libssl ---
struct Keys {
  Secret key, iv;
};
// RFC 8446, 7.3, and 7.2 for the next generation.
Secret expand_label(const EVP_MD* digest, const Secret& secret, const char* label, std::size_t size);
// RFC 5246, 6.3: the client's and the server's writing keys.
std::pair<Keys, Keys> tls12_keys(const EVP_MD* digest, const Secret& master, const Secret& client_random, const Secret& server_random,
                                 std::size_t key_size, std::size_t iv_size);

// What this room can carry of a cipher suite; null: not this one.
struct Suite {
  std::uint16_t id;
  std::size_t key_size, iv_size, overhead;  // iv: the fixed part; overhead: of a record, without its header
};
const Suite* find_suite(int version, std::uint16_t id);

}  // namespace sockmi::tls
