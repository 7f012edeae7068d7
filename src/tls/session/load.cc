// Loads an image into a live SSL. The image is untrusted input until it is checked.
#include <algorithm>

#include <openssl/x509.h>

#include "tls/session/dummy_peer.h"
#include "tls/session/handshake_replay.h"
#include "tls/tls.h"
#include "wire/envelope.h"
#include "wire/flatbuffer.h"

namespace sockmi::tls {
namespace {

using CertificatePointer = OpenSslPointer<X509, X509_free>;

constexpr std::size_t kMostCertificates = 100;

// An image after its parts have been checked, also against each other.
struct Checked {
  Secret body;  // owns the data that `plan.tls` points into
  std::vector<CertificatePointer> chain;
  LoadPlan plan;
};

Result<SessionPointer> read_session(ByteView der, bool with_chain) {
  SessionPointer session(with_chain ? new_session_with_chain() : SSL_SESSION_new());
  if (!session) return fail_openssl(ENOMEM, "cannot make a session");
  const unsigned char* at = der.data();
  SSL_SESSION* filled = session.get();
  if (der.empty() || !d2i_SSL_SESSION(&filled, &at, static_cast<long>(der.size())) ||
      at != der.data() + der.size())
    return fail_openssl(EBADMSG, "invalid TLS image: session");
  return session;
}

Result<> read_chain(const wire::Tls& tls, Checked& out) {
  if (!tls.peer_chain()) return {};
  if (tls.peer_chain()->size() > kMostCertificates)
    return fail(EBADMSG, "invalid TLS image: {} certificates", tls.peer_chain()->size());
  for (const auto* each : *tls.peer_chain()) {
    const ByteView der = wire::view(each->der());
    const unsigned char* at = der.data();
    out.chain.emplace_back(der.empty() ? nullptr
                                       : d2i_X509(nullptr, &at, static_cast<long>(der.size())));
    if (!out.chain.back()) return fail_openssl(EBADMSG, "invalid TLS image: certificate");
    out.plan.chain.push_back(out.chain.back().get());
  }
  return {};
}

Result<> check_established(const wire::Tls& tls, Checked& out) {
  const auto refuse = [](const char* what) {
    return fail(EBADMSG, "invalid TLS image: {}", what);
  };
  TRY(read_chain(tls, out));
  TRY_LET(session, read_session(wire::view(tls.session()), !out.chain.empty()));
  const SSL_CIPHER* cipher = SSL_SESSION_get0_cipher(session.get());
  if (!cipher || SSL_CIPHER_get_protocol_id(cipher) != tls.cipher() ||
      SSL_SESSION_get_protocol_version(session.get()) != tls.version())
    return refuse("session of another cipher or version");
  const auto suite = find_suite(tls.version(), cipher);
  if (!suite) {
    return fail(ENOTSUP, "unsupported TLS image: version {:#x} with suite {:#x}", tls.version(),
                tls.cipher());
  }
  out.plan.suite = *suite;
  out.plan.session = std::move(session);
  const auto size_is = [](const auto* bytes, std::size_t size) {
    return bytes && bytes->size() == size;
  };
  if (tls.version() == TLS1_3_VERSION) {
    const auto hash =
        static_cast<std::size_t>(EVP_MD_get_size(SSL_CIPHER_get_handshake_digest(cipher)));
    for (const auto* each :
         {tls.client_secret(), tls.server_secret(), tls.exporter_secret(), tls.resumption_secret()})
      if (!size_is(each, hash)) return refuse("secrets");
    if (tls.key_update() > 1 + SSL_KEY_UPDATE_REQUESTED) return refuse("KeyUpdate");
  } else {
    if (!size_is(tls.client_random(), SSL3_RANDOM_SIZE) ||
        !size_is(tls.server_random(), SSL3_RANDOM_SIZE))
      return refuse("randoms");
    if (!size_is(tls.client_finished(), 12) || !size_is(tls.server_finished(), 12))
      return refuse("Finished");
    if (!size_is(tls.explicit_nonce(), 8)) return refuse("nonce");
    if (tls.key_update()) return refuse("KeyUpdate");
  }
  if (tls.alpn() && tls.alpn()->size() > 255) return refuse("ALPN");
  if (tls.server_name() && tls.server_name()->size() > TLSEXT_MAXLEN_host_name)
    return refuse("server name");
  if (wire::view(tls.unread()).size() > SSL3_RT_MAX_PLAIN_LENGTH) return refuse("unread bytes");
  if (tls.shutdown() & ~(SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)) return refuse("shutdown");
  return {};
}

Result<Checked> check(ByteView sealed) {
  Checked out;
  TRY_LET(body, wire::unseal(wire::kTlsKind, wire::kTlsVersion, sealed));
  out.body = std::move(body);
  TRY_LET(tls, wire::read<wire::Tls>(out.body));
  out.plan.tls = tls;
  if (tls->established()) TRY(check_established(*tls, out));
  return out;
}

}  // namespace

Result<> load(ByteView sealed, SSL* ssl, Kind kind) {
  TRY_LET(image, check(sealed));
  const wire::Tls& tls = *image.plan.tls;
  if (!SSL_in_before(ssl) || is_retired(ssl))
    return fail(EINVAL, "SSL has had a handshake already");
  const Kind real{tls.server(), tls.established()};
  if (kind != real) {
    return fail(EINVAL, "image is of a {} {} its handshake", real.server ? "server" : "client",
                real.established ? "after" : "before");
  }
  const int fd = SSL_get_rbio(ssl) ? SSL_get_fd(ssl) : -1;
  if (real.established) {
    TRY(replay_handshake(ssl, image.plan));
  } else {
    real.server ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
  }
  SslData& kept = attachment(ssl);
  const ByteView waiting = wire::view(tls.waiting()), unsent = wire::view(tls.unsent());
  kept.waiting.assign(waiting.begin(), waiting.end());
  kept.unsent.assign(unsent.begin(), unsent.end());
  kept.write_taken = tls.write_taken();
  kept.loaded = real.established;
  kept.reused = tls.reused();
  // If the SSL already has a descriptor, the new record BIO on it gets what the image has
  // for it.
  if (fd >= 0) return set_fd(ssl, fd);
  return {};
}

}  // namespace sockmi::tls
