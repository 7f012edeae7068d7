// Loads a session into a stock SSL object by performing a handshake with it.
//
// Design. libssl's private state cannot be written from outside, but libssl writes it
// itself during a handshake. So the target performs a handshake in memory, with a
// temporary SSL of ours, the dummy peer. The handshake is a
// resumption, which needs no private key.
//
// In TLS 1.3 it is a PSK handshake with a temporary key. When libssl derives the
// application, exporter and resumption secrets, the provider returns the real ones to
// both sides. In TLS 1.2 it is a session resumption. The provider returns the real
// Finished messages, and afterwards the cipher contexts are given the real keys. Then the
// record sequence numbers are shifted to the real ones. Now the SSL does not differ from
// one that performed the handshake with the peer: KeyUpdate, exporters, tickets,
// renegotiation and getters work.
//
// The target's context is the application's, with its callbacks. Some callbacks are
// always called in a handshake (ClientHello, server name, ALPN). They see the names of
// the real connection, so that they choose the same as in the real handshake, including
// the context and certificate of a virtual host. docs/tls.md lists them.
//
// Data that the application had not read yet, and a received close_notify, reach the
// target like they reached the source: in records. The dummy peer makes these records,
// and they never leave this process.
//
// Limitation: to libssl the handshake was a resumption, and SSL_session_reused(3) says
// so. No public function can change that. The real value is stored separately
// (sockmi_session_reused()).
//
// Alternatives considered:
// - Writing into SSL's structure: it changes with every release.
// - Implementing TLS ourselves: the result would not be an SSL object.
#include "tls/session/handshake_replay.h"

#include <algorithm>
#include <ctime>
#include <optional>
#include <string>

#include <openssl/err.h>
#include <openssl/rand.h>

#include "tls/session/dummy_peer.h"
#include "tls/session/real_keys.h"
#include "wire/flatbuffer.h"

namespace sockmi::tls {
namespace {

// The two sides have no group in common, so that libssl chooses a handshake without
// Diffie-Hellman (psk_ke, RFC 8446, 4.2.9).
constexpr const char* kClientGroups = "P-256";
constexpr const char* kServerGroups = "X25519";
// Sets OpenSSL's default groups after the replay. The groups that the SSL had before
// cannot be queried.
void set_usual_groups(SSL* ssl) {
#if OPENSSL_VERSION_PREREQ(3, 5)
  SSL_set1_groups_list(ssl, "DEFAULT");
#else
  static constexpr int kUsual[] = {
      NID_X25519,    NID_X9_62_prime256v1, NID_X448,      NID_secp521r1, NID_secp384r1,
      NID_ffdhe2048, NID_ffdhe3072,        NID_ffdhe4096, NID_ffdhe6144, NID_ffdhe8192};
  SSL_set1_groups(ssl, const_cast<int*>(kUsual), std::size(kUsual));
#endif
}

constexpr long kNoStatus = -1;  // of SSL_get_tlsext_status_type(3)
constexpr std::uint64_t kAgreed = SSL_OP_NO_ENCRYPT_THEN_MAC | SSL_OP_NO_EXTENDED_MASTER_SECRET;

int psk_index() {
  static const int it = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return it;
}
int find_psk(SSL* ssl, const unsigned char*, std::size_t, SSL_SESSION** out) {
  *out = static_cast<SSL_SESSION*>(SSL_get_ex_data(ssl, psk_index()));
  return *out && SSL_SESSION_up_ref(*out);
}
int use_psk(SSL* ssl, const EVP_MD*, const unsigned char** id, std::size_t* id_size,
            SSL_SESSION** out) {
  static constexpr unsigned char kIdentity[] = "sockmi";
  *id = kIdentity;
  *id_size = sizeof kIdentity - 1;
  return find_psk(ssl, nullptr, 0, out);
}

// An SSL without an info callback of its own would call its context's.
void tell_nobody(const SSL*, int, int) {}

// `name` null: none. (The macro casts its argument.)
void set_host_name(SSL* ssl, const char* name) {
  SSL_set_tlsext_host_name(ssl, name);
}

Secret secret(const flatbuffers::Vector<std::uint8_t>* bytes) {
  return wire::secret(bytes);
}

Secret master_of(const SSL_SESSION* session) {
  Secret master(SSL_MAX_MASTER_KEY_LENGTH);
  master.resize(SSL_SESSION_get_master_key(session, master.data(), master.size()));
  return master;
}

// One handshake replay. The destructor restores the target's settings. After a failure it
// also clears the target, so that the target can perform a handshake of its own.
class HandshakeReplay {
 public:
  HandshakeReplay(SSL* target, LoadPlan& plan)
      : target_(target),
        plan_(plan),
        tls_(*plan.tls),
        tls13_(tls_.version() == TLS1_3_VERSION),
        alpn_(wire::view(tls_.alpn())),
        options_(SSL_get_options(target)),
        tickets_(SSL_get_num_tickets(target)),
        info_callback_(SSL_get_info_callback(target)),
        status_type_(SSL_get_tlsext_status_type(target)),
        name_before_(text(SSL_get_servername(target, TLSEXT_NAMETYPE_host_name))),
        context_(up_ref(SSL_get_SSL_CTX(target))),
        rbio_(up_ref(SSL_get_rbio(target))),
        wbio_(up_ref(SSL_get_wbio(target))),
        dummy_(
            SSL_new(dummy_context(tls_.version(), SSL_SESSION_get0_cipher(plan.session.get())))) {}
  HandshakeReplay(const HandshakeReplay&) = delete;

  ~HandshakeReplay() {
    SSL_set_ex_data(target_, psk_index(), nullptr);
    SSL_set_psk_find_session_callback(target_, nullptr);
    SSL_set_psk_use_session_callback(target_, nullptr);
    if (by_callback_) SSL_set_session_secret_cb(target_, nullptr, nullptr);
    SSL_set_num_tickets(target_, tickets_);
    SSL_clear_options(target_, (SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_NO_TICKET | kAgreed) & ~options_);
    SSL_set_options(target_, kAgreed & options_);
    SSL_set_info_callback(target_, info_callback_);
    if (status_type_ != kNoStatus) SSL_set_tlsext_status_type(target_, status_type_);
    if (tls13_) set_usual_groups(target_);
    if (!done_) {
      SSL_set_bio(target_, nullptr, nullptr);
      SSL_clear(target_);
      SSL_set_SSL_CTX(target_, context_.get());
      if (!tls_.server()) {
        SSL_set_session(target_, nullptr);
        set_host_name(target_, name_before_ ? name_before_->c_str() : nullptr);
      }
    }
    if (rbio_ && rbio_ == wbio_) BIO_free(rbio_);  // SSL_set_bio() takes one reference for both
    SSL_set_bio(target_, rbio_, wbio_);
    if (dummy_knows_) (void)overwrite_secrets(dummy_.get());  // fails only if memory is short
    ERR_clear_error();
  }

  Result<> perform() {
    if (!dummy_ || !connect_in_memory(dummy_.get(), target_))
      return fail_openssl(ENOMEM, "cannot replay the handshake");
    set_link();
    Scope scope;
    const Secret master = tls13_ ? set_psk(scope) : set_resumption();
    // An empty ticket: libssl cannot copy that session.
    if (!tls13_ && !by_callback_ && !cached_)
      return fail_openssl(EBADMSG, "invalid TLS image: session");
    const Finished finished{secret(tls_.client_finished()), secret(tls_.server_finished())};
    if (!tls13_) scope.inject_finished = &finished;
    // The dummy peer makes records only if there are unread data, so only then does it
    // need the real secrets.
    dummy_knows_ = scope.inject_into_dummy = tls13_ && has_unread();
    const bool shaken = shake_hands(dummy_.get(), target_,
                                    [&](const SSL* turn) { scope.dummy = turn != target_; }) &&
                        SSL_session_reused(target_);
    if (cached_) SSL_CTX_remove_session(cache(), cached_.get());
    if (!shaken && SSL_want(target_) == SSL_CLIENT_HELLO_CB) {
      return fail(
          ENOTSUP,
          "cannot load: the application's client_hello callback does not answer immediately");
    }
    if (!shaken) {
      return fail_openssl(ENOTSUP,
                          "cannot load: the SSL's context does not allow this session (version, "
                          "cipher, or the provider is not in its path)");
    }
    if (scope.contexts.empty()) return fail(ENOKEY, "provider is not in the SSL's path");
    TRY(give_unread(scope));
    TRY(set_real_keys(target_, tls_, plan_.suite, scope, master));
    TRY(set_what_getters_answer());
    done_ = true;
    return {};
  }

 private:
  static BIO* up_ref(BIO* bio) {
    if (bio) BIO_up_ref(bio);
    return bio;
  }
  static SSL_CTX* up_ref(SSL_CTX* context) {
    SSL_CTX_up_ref(context);
    return context;
  }
  static std::optional<std::string> text(const char* from) {
    return from ? std::optional<std::string>(from) : std::nullopt;
  }
  const char* name() const { return tls_.server_name() ? tls_.server_name()->c_str() : nullptr; }
  // The cache in which the server looks up sessions. It is that of the original context,
  // even if a virtual host's context replaces it during the handshake.
  SSL_CTX* cache() const { return tls_.server() ? context_.get() : SSL_get_SSL_CTX(dummy_.get()); }
  SSL* server() const { return tls_.server() ? target_ : dummy_.get(); }
  SSL* client() const { return tls_.server() ? dummy_.get() : target_; }

  void set_link() {
    SSL_set_info_callback(target_, tell_nobody);
    SSL_set_accept_state(server());
    SSL_set_connect_state(client());
    set_host_name(client(), name());
    SSL_SESSION_set1_hostname(plan_.session.get(), name());
    // The dummy peer has no stapled OCSP response. An application may insist on one, so
    // it is not requested.
    if (status_type_ != kNoStatus) SSL_set_tlsext_status_type(target_, kNoStatus);
    choose_alpn(dummy_.get(), &alpn_);
    if (!alpn_.empty()) {
      Bytes protocols{static_cast<std::uint8_t>(alpn_.size())};
      protocols.insert(protocols.end(), alpn_.begin(), alpn_.end());
      SSL_set_alpn_protos(client(), protocols.data(), static_cast<unsigned>(protocols.size()));
    }
    SSL_set_tlsext_max_fragment_length(client(),
                                       SSL_SESSION_get_max_fragment_length(plan_.session.get()));
    SSL_set_num_tickets(server(), 0);
    SSL_set_options(target_, SSL_OP_ALLOW_NO_DHE_KEX);
    // The replay must find_host the same extensions as the real handshake. The client
    // omits those that were not negotiated.
    SSL_clear_options(target_, kAgreed);
    if (!tls13_ && !tls_.encrypt_then_mac()) SSL_set_options(client(), SSL_OP_NO_ENCRYPT_THEN_MAC);
    if (tls_.no_extended_master()) SSL_set_options(client(), SSL_OP_NO_EXTENDED_MASTER_SECRET);
    if (tls13_) {
      SSL_set1_groups_list(client(), kClientGroups);
      SSL_set1_groups_list(server(), kServerGroups);
    }
    // Without a common session id context the client fails with "attempt to reuse session
    // in different context". A server that requests certificates rejects an empty one.
    unsigned size = 0;
    const unsigned char* id = SSL_SESSION_get0_id_context(plan_.session.get(), &size);
    id_context_.assign(id, id + size);
    const Bytes shown = size > 0 ? id_context_ : Bytes{'s', 'o', 'c', 'k', 'm', 'i'};
    SSL_SESSION_set1_id_context(plan_.session.get(), shown.data(),
                                static_cast<unsigned>(shown.size()));
    for (SSL* ssl : {server(), client()})
      SSL_set_session_id_context(ssl, shown.data(), static_cast<unsigned>(shown.size()));
    id = SSL_SESSION_get_id(plan_.session.get(), &size);
    session_id_.assign(id, id + size);
  }

  // Makes the session new. Otherwise a connection that is older than its session's
  // timeout would be refused. The session gets its own time and timeout back afterwards.
  void make_young(SSL_SESSION* session) {
    time_ = SSL_SESSION_get_time(session);
    timeout_ = SSL_SESSION_get_timeout(session);
    SSL_SESSION_set_time(session, std::time(nullptr));
    SSL_SESSION_set_timeout(session, 300);
  }

  // Replaces the session's secret by a temporary key. Returns the real one.
  Secret set_psk(Scope& scope) {
    SSL_SESSION* session = plan_.session.get();
    Secret real = master_of(session);
    Secret psk(static_cast<std::size_t>(
        EVP_MD_get_size(SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(session)))));
    RAND_bytes(psk.data(), static_cast<int>(psk.size()));
    SSL_SESSION_set1_master_key(session, psk.data(), psk.size());
    // With an id, a client would remove the session of that id from its cache, and notify
    // the application.
    SSL_SESSION_set1_id(session, psk.data(), 0);
    make_young(session);
    for (SSL* ssl : {server(), client()})
      SSL_set_ex_data(ssl, psk_index(), session);
    SSL_set_psk_find_session_callback(server(), find_psk);
    SSL_set_psk_use_session_callback(client(), use_psk);
    scope.inject = Connection::make();
    scope.inject->client = Key(wire::view(tls_.client_secret()));
    scope.inject->server = Key(wire::view(tls_.server_secret()));
    scope.inject->exporter = Key(wire::view(tls_.exporter_secret()));
    scope.inject->resumption = Key(wire::view(tls_.resumption_secret()));
    Registry::get().add(scope.inject);
    return real;
  }

  // The session gets a random id, because the peer's own session may be in this process
  // too. The server finds the session in its context's cache. Alternatively a callback
  // gives the server the secret (SSL_set_session_secret_cb, made for EAP-FAST), and its
  // new session is filled with ours. The callback is used for contexts that do not look
  // into their cache, and for contexts whose application is notified of every session
  // that is removed from the cache. But only a session from the cache can have a chain.
  // So in the second case a session with a chain is put into the cache all the same; in
  // the first case it cannot be loaded.
  Secret set_resumption() {
    SSL_SESSION* session = plan_.session.get();
    SSL_set_options(client(), SSL_OP_NO_TICKET);
    unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
    RAND_bytes(id, sizeof id);
    SSL_SESSION_set1_id(session, id, sizeof id);
    make_young(session);
    by_callback_ =
        (SSL_CTX_get_session_cache_mode(cache()) & SSL_SESS_CACHE_NO_INTERNAL_LOOKUP) != 0 ||
        (SSL_CTX_sess_get_remove_cb(cache()) && plan_.chain.empty());
    if (by_callback_) {
      SSL_set_session_secret_cb(server(), fill_session, this);
    } else {
      cached_.reset(SSL_SESSION_dup(session));
      if (cached_) SSL_CTX_add_session(cache(), cached_.get());
    }
    SSL_set_session(client(), session);
    return master_of(session);
  }

  static int fill_session(SSL* ssl, void* secret, int* size, STACK_OF(SSL_CIPHER) *,
                          const SSL_CIPHER** cipher, void* replay) {
    const HandshakeReplay& self = *static_cast<HandshakeReplay*>(replay);
    const SSL_SESSION* ours = self.plan_.session.get();
    SSL_SESSION* live = SSL_get_session(ssl);
    const unsigned char* at = self.tls_.session()->data();
    if (!d2i_SSL_SESSION(&live, &at, static_cast<long>(self.tls_.session()->size()))) return 0;
    unsigned id_size = 0;
    const unsigned char* id = SSL_SESSION_get_id(ours, &id_size);
    SSL_SESSION_set1_id(live, id, id_size);
    SSL_SESSION_set1_hostname(live, self.name());
    unsigned context_size = 0;
    const unsigned char* id_context = SSL_SESSION_get0_id_context(ours, &context_size);
    SSL_SESSION_set1_id_context(live, id_context, context_size);
    *size = static_cast<int>(SSL_SESSION_get_master_key(ours, static_cast<unsigned char*>(secret),
                                                        static_cast<std::size_t>(*size)));
    *cipher = SSL_SESSION_get0_cipher(ours);
    return 1;
  }

  bool has_unread() const {
    return !wire::view(tls_.unread()).empty() || (tls_.shutdown() & SSL_RECEIVED_SHUTDOWN);
  }

  // In TLS 1.3 the dummy peer has the real peer's keys by now. In TLS 1.2 it has the
  // replay's keys, which the target still has too and loses later.
  Result<> give_unread(Scope& scope) {
    if (!has_unread()) return {};
    const ByteView unread = wire::view(tls_.unread());
    scope.dummy = true;
    const bool sent = unread.empty() ? SSL_shutdown(dummy_.get()) >= 0
                                     : SSL_write(dummy_.get(), unread.data(),
                                                 static_cast<int>(unread.size())) > 0;
    scope.dummy = false;
    char byte;
    const int peeked = sent ? SSL_peek(target_, &byte, 1) : -1;
    OPENSSL_cleanse(&byte, 1);
    const bool arrived =
        unread.empty()
            ? SSL_get_error(target_, peeked) == SSL_ERROR_ZERO_RETURN
            : peeked == 1 && static_cast<std::size_t>(SSL_pending(target_)) == unread.size();
    if (!arrived) return fail_openssl(EBADMSG, "invalid TLS image: unread bytes");
    return {};
  }

  Result<> set_what_getters_answer() {
    const unsigned char* alpn = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(target_, &alpn, &size);
    if (!std::ranges::equal(ByteView(alpn, size), alpn_))
      return fail(ENOTSUP, "cannot load: the SSL's context chooses another ALPN protocol");
    // On a server too, because it may have ignored the name.
    set_host_name(target_, name());
    SSL_SESSION* const session = SSL_get_session(target_);
    SSL_SESSION_set1_hostname(session, name());
    SSL_SESSION_set1_id(session, session_id_.data(), static_cast<unsigned>(session_id_.size()));
    SSL_SESSION_set1_id_context(session, id_context_.data(),
                                static_cast<unsigned>(id_context_.size()));
    SSL_set_session_id_context(target_, id_context_.data(),
                               static_cast<unsigned>(id_context_.size()));
    SSL_SESSION_set_time(session, time_);
    SSL_SESSION_set_timeout(session, timeout_);
    SSL_set_verify_result(target_, tls_.verify_result());
    if (!plan_.chain.empty()) {
      STACK_OF(X509)* chain = SSL_get_peer_cert_chain(target_);
      if (!chain) {
        return fail(ENOTSUP,
                    "cannot load the peer's chain: the SSL's context has to look sessions up in "
                    "its own cache");
      }
      while (X509* stale = sk_X509_pop(chain))
        X509_free(stale);
      for (X509* each : plan_.chain) {
        X509_up_ref(each);
        sk_X509_push(chain, each);
      }
    }
    tickets_ = tls_.num_tickets();
    if (tls_.shutdown()) SSL_set_shutdown(target_, tls_.shutdown());
    if (tls_.key_update() && !SSL_key_update(target_, tls_.key_update() - 1))
      return fail_openssl(EBADMSG, "invalid TLS image: KeyUpdate");
    return {};
  }

  SSL* target_;
  LoadPlan& plan_;
  const wire::Tls& tls_;
  const bool tls13_;
  const ByteView alpn_;
  const std::uint64_t options_;
  std::size_t tickets_;
  void (*const info_callback_)(const SSL*, int, int);
  const long status_type_;
  const std::optional<std::string> name_before_;
  const ContextPointer context_;  // before a virtual host's context replaces it
  BIO *rbio_, *wbio_;
  SslPointer dummy_;
  SessionPointer cached_;
  Bytes session_id_, id_context_;
  long time_ = 0, timeout_ = 0;
  bool by_callback_ = false, dummy_knows_ = false, done_ = false;
};

}  // namespace

Result<> replay_handshake(SSL* target, LoadPlan& plan) {
  auto performed = HandshakeReplay(target, plan).perform();
  if (!performed) drop_attachment(target);
  return performed;
}

}  // namespace sockmi::tls
