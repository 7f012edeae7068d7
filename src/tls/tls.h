// Saves the state of a stock SSL object, and loads it into another one. This module
// depends on OpenSSL and does not depend on the migration of sockets.
#pragma once

#include <chrono>
#include <cstdint>

#include <openssl/ssl.h>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tls {

// Enables the provider in `libctx` (see sockmi_enable()).
Result<> enable(OSSL_LIB_CTX* libctx);

// Sets our record BIO on `fd` as the SSL's BIO for both directions. First puts into it
// what load() has left for it: records that wait to be read, and bytes that are not sent
// yet.
Result<> set_fd(SSL* ssl, int fd);
int get_fd(const SSL* ssl);  // -1 if its BIO is neither ours nor a socket BIO

enum class Phase : std::uint8_t { BeforeHandshake, InHandshake, Established };
Phase phase(const SSL* ssl);

// Returns the sealed TLS image of an SSL before or after its handshake. The SSL is
// unharmed and continues to work. Errors: EAGAIN, ENOTSUP, ENOKEY, EPROTO as in
// appsockmi.h; ESHUTDOWN if the SSL has been exported.
Result<Secret> save(SSL* ssl);
// The kind of image that the caller expects. load() fails with EINVAL if the image is of
// another kind.
struct Kind {
  bool server, established;
  bool operator==(const Kind&) const = default;
};
// Fills a fresh SSL from an image. The SSL gets the image's role. Errors: EBADMSG (seal
// or contents), EINVAL, ENOTSUP, ENOKEY. After any error the SSL is as it was before.
Result<> load(ByteView image, SSL* ssl, Kind kind);
// Retires an SSL that has been exported. The SSL cannot read, write or derive keys any
// more, its keys are wiped, and nothing is sent, not even an alert. On error all this
// holds too, except that copies of the keys are left in libssl's memory.
Result<> retire(SSL* ssl);
// Whether retire() was called on the SSL and it has not got a new BIO since.
bool is_retired(const SSL* ssl);

// For an SSL whose migration is in doubt: as long as its socket is frozen, an SSL on our
// BIO neither reads nor writes (EPERM).
void doubt(SSL* ssl);
// While the SSL is suspended, it neither reads nor writes (EPERM) on our BIO.
void suspend(SSL* ssl, bool on);

std::size_t write_taken(const SSL* ssl);
bool was_reused(const SSL* ssl);     // whether the handshake with the peer was a resumption
bool in_mid_record(const SSL* ssl);  // libssl has read a part of a record

// Sends a KeyUpdate that requests one from the peer. What the socket does not accept is
// sent with the next write. Errors: ENOTSUP if the version is not TLS 1.3; EAGAIN if it
// is not possible now; EPROTO if sending fails; ESHUTDOWN if the SSL has been exported.
Result<> update_keys(SSL* ssl);

// Brings an SSL that is in its handshake, or in the middle of a record, to a state in
// which it can be saved. Continues the handshake or reads the rest of the record, for
// `patience` at most. Progress depends on the peer. Errors: EAGAIN if the state is not
// reached in time; EPROTO if the handshake fails.
Result<> quiesce(SSL* ssl, std::chrono::milliseconds patience);

}  // namespace sockmi::tls
