// Data that this module stores with an SSL: what its future record BIO gets, and what
// libssl does not return correctly after a load.
#pragma once

#include <openssl/ssl.h>

#include "base/secret.h"
#include "tls/provider/dispatch.h"
#include "tls/provider/suites.h"

namespace sockmi::tls {

struct SslData {
  Bytes waiting, unsent;  // for a record BIO that is not set yet
  std::size_t write_taken = 0;
  // Of an SSL that was loaded here: whether the handshake with the peer was a resumption.
  bool reused = false;
  bool loaded = false;
  bool spent = false;  // it was exported
  // TLS 1.2, loaded here: the randoms of the real handshake, and those of the handshake
  // replay, which the provider replaces by the real ones.
  Secret client_random, server_random, replayed_client_random, replayed_server_random;
  // What the last save or load found out about the handshake with client random `random`,
  // so that the next save need not find it out again.
  struct Known {
    Secret random;
    std::shared_ptr<Connection> connection;                // TLS 1.3
    Tls12Keys client, server;                              // TLS 1.2
    CipherContext *reading = nullptr, *writing = nullptr;  // TLS 1.2; may dangle
  } known;
  ~SslData();
};

SslData* find_attachment(const SSL* ssl);  // null: none
SslData& attachment(SSL* ssl);             // made if there is none; destroyed with the SSL
void drop_attachment(SSL* ssl);

// Computes the client's and the server's write keys, independently of libssl (RFC 5246,
// 6.3).
std::pair<Tls12Keys, Tls12Keys> tls12_keys(const SSL_CIPHER* cipher, const Suite& suite,
                                           const Secret& master, const Secret& client_random,
                                           const Secret& server_random);
Secret client_random_of(const SSL* ssl);

}  // namespace sockmi::tls
