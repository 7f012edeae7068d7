// How state gets out of, and into, a stock SSL object. Knows OpenSSL, nothing of sockets' migration.
#pragma once

#include <chrono>
#include <cstdint>

#include <openssl/ssl.h>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tls {

// Switches the provider on (see sockmi_enable()).
Result<> enable(OSSL_LIB_CTX* libctx);

// Puts our record BIO over `fd` under the SSL, for both directions; what load() left for it (records waiting, half sent) goes in first.
Result<> set_fd(SSL* ssl, int fd);
int get_fd(const SSL* ssl);  // -1 if neither ours nor a socket BIO

enum class Phase : std::uint8_t { before_handshake, in_handshake, established };
Phase phase(const SSL* ssl);

// The sealed TLS image of an SSL before its handshake or with it performed. The SSL is unharmed, and not spent.
// EAGAIN, ENOTSUP, ENOKEY, EPROTO as in appsockmi.h.
Result<Secret> save(SSL* ssl);
// What the caller takes the image for; EINVAL if it is something else.
struct Kind {
  bool server, established;
  bool operator==(const Kind&) const = default;
};
// Fills a fresh SSL, which gets the image's role. EBADMSG (seal, contents), EINVAL, ENOTSUP: in every case the SSL is as it was.
Result<> load(ByteView image, SSL* ssl, Kind kind);
// After an export: the SSL can neither read nor write nor derive any more, its keys are wiped, nothing (no alert) goes out. An error: the former is so,
// but copies of the keys are left in libssl's memory.
Result<> spend(SSL* ssl);
bool is_spent(const SSL* ssl);  // and has got no new BIO since

// Nobody can say yet whether the connection is still ours: as long as its socket is frozen, an SSL on our BIO neither reads nor writes (EPERM).
void doubt(SSL* ssl);

std::size_t write_taken(const SSL* ssl);
bool was_reused(const SSL* ssl);    // whether the handshake with the peer was a resumption
bool in_mid_record(const SSL* ssl);  // libssl has read a record in part

// Sends a KeyUpdate that asks for the peer's; what the socket does not take goes with the next write. ENOTSUP: not TLS 1.3; EAGAIN: not now.
Result<> update_keys(SSL* ssl);

// Brings an SSL that is in its handshake, or in the middle of a record, to where it can be saved: goes on with it, as far as the peer does, for so
// long at most. EAGAIN: not reached; EPROTO: the handshake failed.
Result<> quiesce(SSL* ssl, std::chrono::milliseconds patience);

}  // namespace sockmi::tls
