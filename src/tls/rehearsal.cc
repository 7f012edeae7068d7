// How a genuine SSL comes to hold somebody else's session: by a handshake.
//
// libssl's private state can not be written, but libssl writes it itself when it does a handshake. So the target does one, in memory, against a
// throw-away SSL of ours: a resumption, which needs no private key. In TLS 1.3 that is a PSK handshake with a throw-away key; when libssl
// derives the application, exporter and resumption secrets, the provider answers with the real ones. In TLS 1.2 it is a session resumption; then
// the cipher contexts are given the real keys. Afterwards record sequence numbers are moved on to the real ones, and nothing of the SSL is
// different from one that had the handshake with the peer: KeyUpdate, exporters, tickets and getters work.
//
// Rejected: writing into SSL's structure (changes with every release), and speaking TLS ourselves (then it is no SSL any more).
#include <algorithm>
#include <ctime>
#include <map>
#include <mutex>

#include <openssl/err.h>
#include <openssl/rand.h>

#include "image/pack.h"
#include "image/seal.h"
#include "image/tls_generated.h"
#include "tls/attachment.h"
#include "tls/tls.h"
#include "tls/wrapped.h"

namespace sockmi::tls {
namespace {

template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using SslPointer = std::unique_ptr<SSL, Deleter<SSL, SSL_free>>;
using SessionPointer = std::unique_ptr<SSL_SESSION, Deleter<SSL_SESSION, SSL_SESSION_free>>;

// No group is common to both sides, so that libssl settles on a handshake without Diffie-Hellman (psk_ke, RFC 8446, 4.2.9).
constexpr const char* kClientGroups = "P-256";
constexpr const char* kServerGroups = "X25519";
constexpr const char* kUsualGroups = "X25519:P-256:X448:P-521:P-384";

constexpr std::uint64_t kAgreed = SSL_OP_NO_ENCRYPT_THEN_MAC | SSL_OP_NO_EXTENDED_MASTER_SECRET;

int select_first_alpn(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned in_size, void*) {
  if (in_size < 1 || in[0] + 1u > in_size) return SSL_TLSEXT_ERR_NOACK;
  *size = in[0];
  *out = in + 1;
  return SSL_TLSEXT_ERR_OK;
}

// The throw-away side's contexts, one a version and suite; they live as long as the process.
SSL_CTX* shadow_context(int version, const SSL_CIPHER* cipher) {
  static std::mutex mutex;
  static auto* contexts = new std::map<std::pair<int, std::uint32_t>, SSL_CTX*>;
  std::lock_guard lock(mutex);
  SSL_CTX*& ctx = (*contexts)[{version, SSL_CIPHER_get_id(cipher)}];
  if (ctx) return ctx;
  ctx = SSL_CTX_new_ex(Default::get().libctx, nullptr, TLS_method());
  const char* name = SSL_CIPHER_get_name(cipher);
  SSL_CTX_set_security_level(ctx, 0);
  SSL_CTX_set_min_proto_version(ctx, version);
  SSL_CTX_set_max_proto_version(ctx, version);
  if (version == TLS1_3_VERSION)
    SSL_CTX_set_ciphersuites(ctx, name);
  else
    SSL_CTX_set_cipher_list(ctx, name);
  SSL_CTX_set_alpn_select_cb(ctx, select_first_alpn, nullptr);
  SSL_CTX_set_options(ctx, SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER);
  return ctx;
}

int psk_index() {
  static const int it = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return it;
}
int find_psk(SSL* ssl, const unsigned char*, std::size_t, SSL_SESSION** out) {
  *out = static_cast<SSL_SESSION*>(SSL_get_ex_data(ssl, psk_index()));
  return *out && SSL_SESSION_up_ref(*out);
}
int use_psk(SSL* ssl, const EVP_MD*, const unsigned char** id, std::size_t* id_size, SSL_SESSION** out) {
  static constexpr unsigned char kIdentity[] = "sockmi";
  *id = kIdentity;
  *id_size = sizeof kIdentity - 1;
  return find_psk(ssl, nullptr, 0, out);
}

bool shake_hands(SSL* a, SSL* b) {
  bool a_done = false, b_done = false;
  const auto step = [](SSL* ssl, bool& done) {
    if (done) return true;
    const int result = SSL_do_handshake(ssl);
    done = result == 1;
    return done || SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ;
  };
  for (int flight = 0; flight < 10 && !(a_done && b_done); ++flight)
    if (!step(a, a_done) || !step(b, b_done)) return false;
  return a_done && b_done;
}

Secret secret(const flatbuffers::Vector<std::uint8_t>* bytes) { return image::secret(bytes); }

// An image whose parts have been checked against each other.
struct Checked {
  Secret body;              // owns what `tls` points into
  const image::Tls* tls = nullptr;
  const Suite* suite = nullptr;
  SessionPointer session;
};

Result<Checked> check(ByteView sealed) {
  Checked out;
  TRY_LET(body, image::unseal(image::kTlsKind, image::kTlsVersion, sealed));
  out.body = std::move(body);
  TRY_LET(tls, image::read<image::Tls>(out.body));
  out.tls = tls;
  if (!tls->established()) return out;
  const auto refuse = [](const char* what) { return fail(EBADMSG, "TLS image: {}", what); };
  out.suite = find_suite(tls->version(), tls->cipher());
  if (!out.suite) return fail(ENOTSUP, "TLS image: version {:#x} with suite {:#x} is not served", tls->version(), tls->cipher());
  const auto session = image::view(tls->session());
  const unsigned char* at = session.data();
  out.session.reset(session.empty() ? nullptr : d2i_SSL_SESSION(nullptr, &at, static_cast<long>(session.size())));
  if (!out.session) return refuse("session");
  const SSL_CIPHER* cipher = SSL_SESSION_get0_cipher(out.session.get());
  if (!cipher || SSL_CIPHER_get_protocol_id(cipher) != tls->cipher() || SSL_SESSION_get_protocol_version(out.session.get()) != tls->version())
    return refuse("session of another cipher or version");
  const auto size_is = [](const auto* bytes, std::size_t size) { return bytes && bytes->size() == size; };
  const auto hash = static_cast<std::size_t>(EVP_MD_get_size(SSL_CIPHER_get_handshake_digest(cipher)));
  if (tls->version() == TLS1_3_VERSION) {
    for (const auto* each : {tls->client_secret(), tls->server_secret(), tls->exporter_secret()})
      if (!size_is(each, hash)) return refuse("secrets");
  } else if (!size_is(tls->client_random(), 32) || !size_is(tls->server_random(), 32) || !size_is(tls->explicit_nonce(), 8)) {
    return refuse("randoms");
  }
  if (tls->alpn() && tls->alpn()->size() > 255) return refuse("ALPN");
  if (tls->unread() > SSL3_RT_MAX_PLAIN_LENGTH || (tls->unread() > 0 && tls->read_sequence() == UINT64_MAX)) return refuse("unread bytes");
  return out;
}

// The target on stage: its settings are put back when this goes, and on failure it is cleared, fit for a handshake of its own.
class Rehearsal {
 public:
  Rehearsal(SSL* target, Checked& image) : target_(target), image_(image), tls_(*image.tls), options_(SSL_get_options(target)),
        tickets_(SSL_get_num_tickets(target)), info_callback_(SSL_get_info_callback(target)), rbio_(up_ref(SSL_get_rbio(target))), wbio_(up_ref(SSL_get_wbio(target))) {}

  ~Rehearsal() {
    SSL_set_ex_data(target_, psk_index(), nullptr);
    SSL_set_psk_find_session_callback(target_, nullptr);
    SSL_set_psk_use_session_callback(target_, nullptr);
    SSL_set_num_tickets(target_, tickets_);
    SSL_clear_options(target_, (SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_NO_TICKET | kAgreed) & ~options_);
    SSL_set_options(target_, kAgreed & options_);
    SSL_set_info_callback(target_, info_callback_);
    if (!done_) {
      SSL_set_bio(target_, nullptr, nullptr);
      SSL_clear(target_);
      SSL_set1_groups_list(target_, kUsualGroups);
      if (!tls_.server()) SSL_set_session(target_, nullptr);
    }
    if (rbio_ && rbio_ == wbio_) BIO_free(rbio_);  // SSL_set_bio() takes one reference for both
    SSL_set_bio(target_, rbio_, wbio_);
    ERR_clear_error();
  }

  Result<> perform() {
    const bool tls13 = tls_.version() == TLS1_3_VERSION;
    SslPointer shadow(SSL_new(shadow_context(tls_.version(), SSL_SESSION_get0_cipher(image_.session.get()))));
    if (!shadow) return fail_openssl(ENOMEM, "rehearsal");
    TRY(set_stage(shadow.get()));
    Scope scope;
    auto connection = std::make_shared<Connection>();
    const Secret real_master = tls13 ? set_psk(shadow.get()) : set_resumption(shadow.get());
    if (tls13) {
      connection->client = secret(tls_.client_secret());
      connection->server = secret(tls_.server_secret());
      connection->exporter = secret(tls_.exporter_secret());
      connection->resumption = secret(tls_.resumption_secret());
      Registry::get().add(connection);
      scope.inject = connection;
    }
    const bool shaken = shake_hands(shadow.get(), target_) && SSL_session_reused(target_);
    if (cached_) SSL_CTX_remove_session(SSL_get_SSL_CTX(server(shadow.get())), cached_.get());
    if (!shaken) return fail_openssl(ENOTSUP, "the SSL's context does not allow this session (version, cipher, or the provider is not in its path)");
    TRY(tls13 ? take_over_tls13(scope, real_master) : take_over_tls12(scope, real_master));
    done_ = true;
    TRY(feed_unread());
    return {};
  }

 private:
  static BIO* up_ref(BIO* bio) {
    if (bio) BIO_up_ref(bio);
    return bio;
  }
  SSL* server(SSL* shadow) const { return tls_.server() ? target_ : shadow; }
  SSL* client(SSL* shadow) const { return tls_.server() ? shadow : target_; }

  Result<> set_stage(SSL* shadow) {
    BIO *ours = nullptr, *theirs = nullptr;
    if (!BIO_new_bio_pair(&ours, 0, &theirs, 0)) return fail_openssl(ENOMEM, "rehearsal");
    SSL_set_bio(shadow, theirs, theirs);
    SSL_set_bio(target_, ours, ours);
    SSL_set_info_callback(target_, nullptr);
    if (tls_.server()) SSL_set_accept_state(target_), SSL_set_connect_state(shadow);
    else SSL_set_connect_state(target_), SSL_set_accept_state(shadow);
    SSL* const c = client(shadow);
    SSL* const s = server(shadow);
    if (tls_.server_name() && tls_.server_name()->size() > 0) SSL_set_tlsext_host_name(c, tls_.server_name()->c_str());
    if (tls_.alpn() && tls_.alpn()->size() > 0) {
      Bytes protocols{static_cast<std::uint8_t>(tls_.alpn()->size())};
      protocols.insert(protocols.end(), tls_.alpn()->begin(), tls_.alpn()->end());
      SSL_set_alpn_protos(c, protocols.data(), static_cast<unsigned>(protocols.size()));
    }
    SSL_set_num_tickets(s, 0);
    SSL_set_options(target_, SSL_OP_ALLOW_NO_DHE_KEX);
    // What the real handshake agreed on, the rehearsal has to agree on too: the client leaves out what it did not.
    SSL_clear_options(target_, kAgreed);
    if (tls_.version() == TLS1_2_VERSION && !tls_.encrypt_then_mac()) SSL_set_options(c, SSL_OP_NO_ENCRYPT_THEN_MAC);
    if (tls_.no_extended_master()) SSL_set_options(c, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    if (tls_.version() == TLS1_3_VERSION) {
      SSL_set1_groups_list(c, kClientGroups);
      SSL_set1_groups_list(s, kServerGroups);
    }
    // Or the client refuses: "attempt to reuse session in different context".
    unsigned size = 0;
    const unsigned char* id = SSL_SESSION_get0_id_context(image_.session.get(), &size);
    SSL_set_session_id_context(s, id, size);
    SSL_set_session_id_context(c, id, size);
    return {};
  }

  // A throw-away key takes the place of the session's secret. Returns the real one.
  Secret set_psk(SSL* shadow) {
    SSL_SESSION* session = image_.session.get();
    Secret real(SSL_MAX_MASTER_KEY_LENGTH), psk;
    real.resize(SSL_SESSION_get_master_key(session, real.data(), real.size()));
    psk.resize(static_cast<std::size_t>(EVP_MD_get_size(SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(session)))));
    RAND_bytes(psk.data(), static_cast<int>(psk.size()));
    SSL_SESSION_set1_master_key(session, psk.data(), psk.size());
    for (SSL* ssl : {server(shadow), client(shadow)}) SSL_set_ex_data(ssl, psk_index(), session);
    SSL_set_psk_find_session_callback(server(shadow), find_psk);
    SSL_set_psk_use_session_callback(client(shadow), use_psk);
    return real;
  }

  Secret set_resumption(SSL* shadow) {
    SSL_SESSION* session = image_.session.get();
    SSL_set_options(client(shadow), SSL_OP_NO_TICKET);
    unsigned char id[32];
    RAND_bytes(id, sizeof id);
    SSL_SESSION_set1_id(session, id, sizeof id);
    SSL_SESSION_set_time(session, std::time(nullptr));
    SSL_SESSION_set_timeout(session, 300);
    Secret master(SSL_MAX_MASTER_KEY_LENGTH);
    master.resize(SSL_SESSION_get_master_key(session, master.data(), master.size()));
    cached_.reset(SSL_SESSION_dup(session));
    SSL_CTX_add_session(SSL_get_SSL_CTX(server(shadow)), cached_.get());
    SSL_set_session(client(shadow), session);
    return master;
  }

  Result<> take_over_tls13(const Scope& scope, const Secret& real_master) {
    CipherContext* writing = Registry::get().current(*scope.inject, !tls_.server(), true).context;
    CipherContext* reading = Registry::get().current(*scope.inject, tls_.server(), false).context;
    if (!writing || !reading) return fail(ENOKEY, "the provider is not in the SSL's path");
    move_on(*writing, *reading);
    attachment(target_).known = {.random = client_random_of(target_), .connection = scope.inject, .client = {}, .server = {}};
    if (!real_master.empty()) SSL_SESSION_set1_master_key(SSL_get_session(target_), real_master.data(), real_master.size());
    return {};
  }

  Result<> take_over_tls12(const Scope& scope, const Secret& master) {
    CipherContext *writing = nullptr, *reading = nullptr;
    for (CipherContext* context : scope.contexts)
      if (Registry::get().by_key(context->encrypting, context->key) == context) (context->encrypting ? writing : reading) = context;
    if (!writing || !reading) return fail(ENOKEY, "the provider is not in the SSL's path");
    Attachment& kept = attachment(target_);
    kept.client_random = secret(tls_.client_random());
    kept.server_random = secret(tls_.server_random());
    auto [client, server] = tls12_keys(SSL_get_current_cipher(target_), *image_.suite, master, kept.client_random, kept.server_random);
    std::array<std::uint8_t, 8> nonce;
    std::ranges::copy(*tls_.explicit_nonce(), nonce.begin());
    if (!rekey_tls12(*writing, tls_.server() ? server : client, nonce) || !rekey_tls12(*reading, tls_.server() ? client : server, nonce))
      return fail(EIO, "setting the keys");
    move_on(*writing, *reading);
    kept.known = {.random = client_random_of(target_), .connection = nullptr, .client = std::move(client), .server = std::move(server)};
    kept.rehearsed_client_random.resize(32);
    kept.rehearsed_server_random.resize(32);
    SSL_get_client_random(target_, kept.rehearsed_client_random.data(), 32);
    SSL_get_server_random(target_, kept.rehearsed_server_random.data(), 32);
    Registry::get().substitute(kept.rehearsed_client_random, kept.client_random);
    Registry::get().substitute(kept.rehearsed_server_random, kept.server_random);
    return {};
  }

  void move_on(CipherContext& writing, CipherContext& reading) {
    writing.sequence().offset = tls_.write_sequence() - writing.sequence().count;
    reading.sequence().offset = tls_.read_sequence() - reading.sequence().count;
  }

  // A record that the application had read in part is given to the new SSL once more, and read up to the same place.
  Result<> feed_unread() {
    Attachment& kept = attachment(target_);
    const ByteView waiting = image::view(tls_.waiting()), unsent = image::view(tls_.unsent());
    kept.unsent.assign(unsent.begin(), unsent.end());
    kept.write_taken = tls_.write_taken();
    std::size_t fed = 0;
    if (tls_.unread() > 0) {
      if (waiting.size() < SSL3_RT_HEADER_LENGTH) return fail(EBADMSG, "TLS image: the record of the unread bytes is missing");
      fed = std::min<std::size_t>(waiting.size(), SSL3_RT_HEADER_LENGTH + (waiting[3] << 8 | waiting[4]));
      BIO* record = BIO_new_mem_buf(waiting.data(), static_cast<int>(fed));
      SSL_set_bio(target_, record, BIO_new(BIO_s_null()));
      char bytes[SSL3_RT_MAX_PLAIN_LENGTH];
      int read = SSL_peek(target_, bytes, 1);
      const int consumed = SSL_pending(target_) - static_cast<int>(tls_.unread());
      if (read == 1 && consumed > 0) read = SSL_read(target_, bytes, consumed) == consumed;
      OPENSSL_cleanse(bytes, sizeof bytes);
      if (read != 1 || consumed < 0) {
        done_ = false;
        return fail_openssl(EBADMSG, "TLS image: the record of the unread bytes can not be read");
      }
    }
    kept.waiting.assign(waiting.begin() + static_cast<std::ptrdiff_t>(fed), waiting.end());
    return {};
  }

  SSL* target_;
  Checked& image_;
  const image::Tls& tls_;
  const std::uint64_t options_;
  const std::size_t tickets_;
  void (*const info_callback_)(const SSL*, int, int);
  BIO *rbio_, *wbio_;
  SessionPointer cached_;
  bool done_ = false;
};

}  // namespace

Result<> load(ByteView sealed, SSL* ssl, Kind kind) {
  TRY_LET(image, check(sealed));
  if (!SSL_in_before(ssl)) return fail(EINVAL, "the SSL has had a handshake already");
  const Kind real{image.tls->server(), image.tls->established()};
  if (kind != real) return fail(EINVAL, "the image is of a {} {} its handshake", real.server ? "server" : "client", real.established ? "after" : "before");
  const bool had_buffer = SSL_get_rbio(ssl) != nullptr;
  const int fd = had_buffer ? SSL_get_fd(ssl) : -1;
  if (real.established) {
    Rehearsal rehearsal(ssl, image);
    if (auto performed = rehearsal.perform(); !performed) {
      drop_attachment(ssl);
      return performed;
    }
  } else {
    real.server ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
    const ByteView waiting = image::view(image.tls->waiting());
    attachment(ssl).waiting.assign(waiting.begin(), waiting.end());
  }
  // A record BIO that is there already gets what the image has for it.
  if (fd >= 0) return set_fd(ssl, fd);
  return {};
}

}  // namespace sockmi::tls
