// Removes the secrets from an SSL that has been exported. The session is removed from the
// SSL and, in TLS 1.2, where the session has the master secret, from the context's cache.
//
// In TLS 1.3 libssl does not wipe its copies of the secrets when an SSL is cleared or
// freed. So a handshake replay replaces them by another session with random secrets. The
// replay runs in a context of our own, so that none of the application's callbacks is
// called, and none can refuse.
#include <openssl/rand.h>

#include "tls/session/dummy_peer.h"
#include "tls/session/handshake_replay.h"

namespace sockmi::tls {
namespace {

// Puts the SSL into another context for this object's lifetime. Certificates that the
// application had set on the SSL itself are replaced by its context's.
class InContext {
 public:
  InContext(SSL* ssl, SSL_CTX* context) : ssl_(ssl), own_(SSL_get_SSL_CTX(ssl)) {
    SSL_CTX_up_ref(own_.get());
    SSL_set_SSL_CTX(ssl, context);
  }
  InContext(const InContext&) = delete;
  ~InContext() { SSL_set_SSL_CTX(ssl_, own_.get()); }

 private:
  SSL* ssl_;
  const ContextPointer own_;
};

// Returns a plan to load a session of the SSL's suite with random secrets. `builder` owns
// what the plan points to.
LoadPlan random_plan(bool server, SessionPointer session, flatbuffers::FlatBufferBuilder& builder) {
  const auto hash = static_cast<std::size_t>(
      EVP_MD_get_size(SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(session.get()))));
  wire::TlsT other;
  other.server = server;
  other.established = true;
  other.version = TLS1_3_VERSION;
  for (auto* each : {&other.client_secret, &other.server_secret, &other.exporter_secret,
                     &other.resumption_secret}) {
    each->resize(hash);
    RAND_bytes(each->data(), static_cast<int>(hash));
  }
  SSL_SESSION_set1_master_key(session.get(), other.client_secret.data(), hash);
  builder.Finish(wire::Tls::Pack(builder, &other));
  return {.tls = flatbuffers::GetRoot<wire::Tls>(builder.GetBufferPointer()),
          .suite = {},
          .session = std::move(session),
          .chain = {}};
}

}  // namespace

Result<> overwrite_secrets(SSL* ssl) {
  const bool tls13 = SSL_version(ssl) == TLS1_3_VERSION;
  SessionPointer session(tls13 ? SSL_SESSION_dup(SSL_get_session(ssl)) : nullptr);
  const auto forget = [ssl] {
    SSL_clear(ssl);
    SSL_set_session(ssl, nullptr);
  };
  // In TLS 1.2 the shutdown flags are cleared: libssl treats the session of an SSL that
  // was not shut down as bad, and removes it from the cache.
  SSL_set_shutdown(ssl, tls13 ? SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN : 0);
  forget();
  if (!tls13) return {};
  const SSL_CIPHER* cipher = session ? SSL_SESSION_get0_cipher(session.get()) : nullptr;
  if (!cipher) return {};  // its handshake had not derived secrets yet
  flatbuffers::FlatBufferBuilder builder;
  SSL_CTX* const private_context = dummy_context(TLS1_3_VERSION, cipher);
  LoadPlan plan = random_plan(SSL_is_server(ssl), std::move(session), builder);
  const InContext meanwhile(ssl, private_context);
  const auto overwritten = replay_handshake(ssl, plan);
  SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  forget();
  return overwritten;
}

}  // namespace sockmi::tls
