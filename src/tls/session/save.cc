#include <algorithm>
#include <cstring>
#include <optional>
#include <tuple>

#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "tls/provider/dispatch.h"
#include "tls/session/handshake_replay.h"
#include "tls/session/record_bio.h"
#include "tls/session/ssl_data.h"
#include "tls/tls.h"
#include "wire/envelope.h"
#include "wire/flatbuffer.h"
#include "wire/tls_generated.h"

namespace sockmi::tls {
namespace {

// The version-dependent part of an established SSL's state.
struct Live {
  CipherContext *reading = nullptr, *writing = nullptr;
  Secret client_secret, server_secret, exporter_secret, resumption_secret;
  Secret client_random, server_random;
};

Error not_ours() {
  return {ENOKEY,
          "the provider is not in the SSL's path: sockmi_enable() must come before its SSL_CTX is "
          "made"};
}

// Finds the Connection of an SSL. libssl does not expose its secrets, so this derives a
// dummy exporter value: the provider sees which exporter secret libssl uses for it.
std::shared_ptr<Connection> probe(SSL* ssl) {
  Scope scope;
  scope.probing = true;
  std::uint8_t value[32];
  constexpr std::string_view kLabel = "EXPORTER-sockmi-probe";
  if (SSL_export_keying_material(ssl, value, sizeof value, kLabel.data(), kLabel.size(), nullptr, 0,
                                 0) != 1)
    return nullptr;
  return Registry::get().by_exporter(scope.probed, SSL_is_server(ssl));
}

// Returns what is known about the SSL's handshake; empty if it was about an earlier
// handshake of the same object.
SslData::Known& known_of(SSL* ssl) {
  SslData::Known& known = attachment(ssl).known;
  Secret random = client_random_of(ssl);
  if (known.random != random)
    known = {.random = std::move(random), .connection = nullptr, .client = {}, .server = {}};
  return known;
}

Secret secret(const Key& key) {
  return {key.view().begin(), key.view().end()};
}

Result<Live> find_tls13(SSL* ssl) {
  auto& connection = known_of(ssl).connection;
  if (!connection) connection = probe(ssl);
  if (!connection) return std::unexpected(not_ours());
  const bool server = SSL_is_server(ssl);
  auto writing = Registry::get().current(*connection, /*client=*/!server, true),
       reading = Registry::get().current(*connection, server, false);
  if (!writing.context || !reading.context) return std::unexpected(not_ours());
  Live live{.reading = reading.context,
            .writing = writing.context,
            .client_secret = std::move(writing.secret),
            .server_secret = std::move(reading.secret),
            .exporter_secret = secret(connection->exporter),
            .resumption_secret = secret(connection->resumption),
            .client_random = {},
            .server_random = {}};
  if (server) std::swap(live.client_secret, live.server_secret);
  return live;
}

Result<Live> find_tls12(SSL* ssl, const Suite& suite) {
  auto& known = known_of(ssl);
  Live live;
  const SslData& kept = attachment(ssl);
  if (kept.replayed_client_random == known.random) {
    live.client_random = kept.client_random;
    live.server_random = kept.server_random;
  } else {
    live.client_random = known.random;
    live.server_random.resize(SSL3_RANDOM_SIZE);
    SSL_get_server_random(ssl, live.server_random.data(), live.server_random.size());
  }
  if (known.client.key.empty()) {
    Secret master(SSL_MAX_MASTER_KEY_LENGTH);
    master.resize(SSL_SESSION_get_master_key(SSL_get_session(ssl), master.data(), master.size()));
    std::tie(known.client, known.server) = tls12_keys(SSL_get_current_cipher(ssl), suite, master,
                                                      live.client_random, live.server_random);
  }
  const bool server = SSL_is_server(ssl);
  known.writing = live.writing =
      Registry::get().by_key(true, (server ? known.server : known.client).key, known.writing);
  known.reading = live.reading =
      Registry::get().by_key(false, (server ? known.client : known.server).key, known.reading);
  if (!live.writing || !live.reading) return std::unexpected(not_ours());
  return live;
}

Result<> of_a_kind_that_is_served(SSL* ssl) {
  if (SSL_is_dtls(ssl)) return fail(ENOTSUP, "DTLS is not supported");
#if OPENSSL_VERSION_PREREQ(3, 2)
  if (SSL_is_quic(ssl)) return fail(ENOTSUP, "QUIC is not supported");
#endif
  return {};
}

// Returns whether a server has requested a certificate from its client after the
// handshake. The client's answer depends on the handshake's transcript, which cannot be
// moved. Only SSL_verify_client_post_handshake(3) reports this state. For an SSL that
// does not request certificates it sends nothing.
bool authenticates_its_client(SSL* ssl) {
  if (!SSL_is_server(ssl) || SSL_version(ssl) != TLS1_3_VERSION) return false;
  const int mode = SSL_get_verify_mode(ssl);
  SSL_set_verify(ssl, SSL_VERIFY_NONE, nullptr);
  ERR_set_mark();
  (void)SSL_verify_client_post_handshake(ssl);
  const int why = ERR_GET_REASON(ERR_peek_last_error());
  ERR_pop_to_mark();
  SSL_set_verify(ssl, mode, nullptr);
  return why == SSL_R_REQUEST_PENDING || why == SSL_R_REQUEST_SENT;
}

Result<Suite> suite_of(SSL* ssl) {
  TRY(of_a_kind_that_is_served(ssl));
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl);
  if (!cipher) return fail(ENOTSUP, "SSL has no cipher");
  const auto suite = find_suite(SSL_version(ssl), cipher);
  if (!suite || SSL_CIPHER_get_kx_nid(cipher) == NID_kx_srp) {
    return fail(ENOTSUP, "{} with {} is not supported", SSL_get_version(ssl),
                SSL_CIPHER_get_name(cipher));
  }
  if (SSL_get_current_compression(ssl)) return fail(ENOTSUP, "compression is not supported");
#if OPENSSL_VERSION_PREREQ(3, 2)
  if (SSL_get_negotiated_server_cert_type(ssl) == TLSEXT_cert_type_rpk ||
      SSL_get_negotiated_client_cert_type(ssl) == TLSEXT_cert_type_rpk)
    return fail(ENOTSUP, "raw public keys are not supported");
#endif
  if (SSL_renegotiate_pending(ssl)) return fail(ENOTSUP, "a renegotiation is under way");
  if (BIO_get_ktls_send(SSL_get_wbio(ssl)) || BIO_get_ktls_recv(SSL_get_rbio(ssl)))
    return fail(ENOTSUP, "kernel TLS is active");
  return *suite;
}

Result<Live> find_live(SSL* ssl) {
  TRY_LET(suite, suite_of(ssl));
  return SSL_version(ssl) == TLS1_3_VERSION ? find_tls13(ssl) : find_tls12(ssl, suite);
}

std::vector<std::uint8_t> bytes(ByteView view) {
  return {view.begin(), view.end()};
}

// The object API's vectors are in ordinary memory. Vectors of secrets therefore only get
// their size; the bytes are written into the finished image in place.
struct State : wire::TlsT {
  using Place = const flatbuffers::Vector<std::uint8_t>* (wire::Tls::*)() const;
  void keep(std::vector<std::uint8_t> wire::TlsT::*vector, Place place, Secret bytes) {
    (this->*vector).resize(bytes.size());
    if (!bytes.empty()) secrets.emplace_back(place, std::move(bytes));
  }
  std::vector<std::pair<Place, Secret>> secrets;
};

Secret finish(const State& state) {
  std::size_t room = 4096 + state.waiting.size() + state.unsent.size();
  for (const auto& [place, bytes] : state.secrets)
    room += bytes.size();
  wire::WipingBuilder builder(room);
  builder.Finish(wire::Tls::Pack(builder, &state));
  const auto* made = flatbuffers::GetRoot<wire::Tls>(builder.GetBufferPointer());
  for (const auto& [place, bytes] : state.secrets)
    std::ranges::copy(bytes, const_cast<std::uint8_t*>((made->*place)()->data()));
  return wire::seal(wire::kTlsKind, wire::kTlsVersion, builder.take());
}

// Adds what an image has brought for a record BIO that has not been set yet.
void save_left(const SSL* ssl, State& state) {
  const SslData* left = find_attachment(ssl);
  if (!left) return;
  state.waiting = bytes(left->waiting);
  state.unsent = bytes(left->unsent);
}

// Saves the data between libssl and the socket. libssl's own buffers cannot be read, so
// they must be empty.
Result<> save_buffers(SSL* ssl, const Live& live, State& state) {
  state.read_sequence = live.reading->sequence().next();
  state.write_sequence = live.writing->sequence().next();
  RecordBuffer* buffer = record_buffer(SSL_get_rbio(ssl));
  if (!buffer) {
    save_left(ssl, state);
    // SSL_free_buffers(3) succeeds only if the buffers are empty. Before 3.0.14 it must
    // not be called while libssl reads (CVE-2024-4741).
    if (SSL_want_write(ssl) || (SSL_pending(ssl) == 0 && SSL_free_buffers(ssl) != 1))
      return fail(EAGAIN, "SSL_write() is not finished");
    return {};
  }
  if (buffer->passes_through()) return fail(EAGAIN, "peer does not send TLS");
  state.waiting = bytes(buffer->waiting());
  (void)buffer->flush();
  state.unsent = bytes(buffer->unsent());
  if (buffer->interrupted_record() > 0) {
    if (!(SSL_get_mode(ssl) & SSL_MODE_ENABLE_PARTIAL_WRITE))
      return fail(EAGAIN, "SSL_write() is not finished");
    state.write_taken = static_cast<std::uint32_t>(live.writing->call_sent());
  }
  return {};
}

// Saves data that are decrypted and not read by the application. Peeks, so the SSL keeps
// them.
Result<> save_unread(SSL* ssl, State& state) {
  const int size = SSL_pending(ssl);
  if (size <= 0) return {};
  Secret unread(static_cast<std::size_t>(size));
  if (SSL_peek(ssl, unread.data(), size) != size)
    return fail_openssl(EAGAIN, "cannot read the unread bytes");
  state.keep(&State::unread, &wire::Tls::unread, std::move(unread));
  return {};
}

// Saves verify_data, sorted by side.
void save_finished(const SSL* ssl, wire::TlsT& state) {
  std::uint8_t ours[EVP_MAX_MD_SIZE], theirs[EVP_MAX_MD_SIZE];
  const std::size_t our_size = SSL_get_finished(ssl, ours, sizeof ours),
                    their_size = SSL_get_peer_finished(ssl, theirs, sizeof theirs);
  state.client_finished.assign(ours, ours + our_size);
  state.server_finished.assign(theirs, theirs + their_size);
  if (SSL_is_server(ssl)) std::swap(state.client_finished, state.server_finished);
}

void save_what_getters_answer(SSL* ssl, wire::TlsT& state) {
  const unsigned char* alpn = nullptr;
  unsigned alpn_size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
  state.alpn.assign(alpn, alpn + alpn_size);
  if (const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name))
    state.server_name = name;
  state.reused = was_reused(ssl);
  state.verify_result = SSL_get_verify_result(ssl);
  state.num_tickets = static_cast<std::uint32_t>(SSL_get_num_tickets(ssl));
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  for (int i = 0; chain && i < sk_X509_num(chain); ++i) {
    X509* certificate = sk_X509_value(chain, i);
    auto each = std::make_unique<wire::CertificateT>();
    each->der.resize(static_cast<std::size_t>(i2d_X509(certificate, nullptr)));
    unsigned char* at = each->der.data();
    i2d_X509(certificate, &at);
    state.peer_chain.push_back(std::move(each));
  }
}

Result<Secret> save_before_handshake(SSL* ssl) {
  TRY(of_a_kind_that_is_served(ssl));
  State state;
  state.server = SSL_is_server(ssl);
  const RecordBuffer* buffer = record_buffer(SSL_get_rbio(ssl));
  if (buffer) {
    state.waiting = bytes(buffer->waiting());
  } else {
    save_left(ssl, state);
  }
  return finish(state);
}

Result<Secret> save_established(SSL* ssl) {
  TRY(suite_of(ssl));
  if (in_mid_record(ssl)) return fail(EAGAIN, "a record is not complete");
  if (authenticates_its_client(ssl))
    return fail(EAGAIN, "authentication after the handshake is not finished");
  State state;
  // First, because libssl may send queued data during it, including a KeyUpdate with new
  // keys.
  TRY(save_unread(ssl, state));
  TRY_LET(live, find_live(ssl));
  state.server = SSL_is_server(ssl);
  state.established = true;
  state.version = static_cast<std::uint16_t>(SSL_version(ssl));
  state.cipher = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl));
  const int size = i2d_SSL_SESSION(SSL_get_session(ssl), nullptr);
  if (size <= 0) return fail_openssl(ENOTSUP, "cannot serialize the session");
  Secret session(static_cast<std::size_t>(size));
  unsigned char* at = session.data();
  i2d_SSL_SESSION(SSL_get_session(ssl), &at);
  state.keep(&State::session, &wire::Tls::session, std::move(session));
  if (state.version == TLS1_3_VERSION) {
    state.keep(&State::client_secret, &wire::Tls::client_secret, std::move(live.client_secret));
    state.keep(&State::server_secret, &wire::Tls::server_secret, std::move(live.server_secret));
    state.keep(&State::exporter_secret, &wire::Tls::exporter_secret,
               std::move(live.exporter_secret));
    state.keep(&State::resumption_secret, &wire::Tls::resumption_secret,
               std::move(live.resumption_secret));
    state.key_update = static_cast<std::uint8_t>(SSL_get_key_update_type(ssl) + 1);
  } else {
    state.client_random = bytes(live.client_random);
    state.server_random = bytes(live.server_random);
    save_finished(ssl, state);
    state.explicit_nonce.assign(live.writing->explicit_nonce.begin(),
                                live.writing->explicit_nonce.end());
    state.encrypt_then_mac = live.writing->mac && live.writing->mac_size == 0;
    state.no_extended_master = SSL_get_extms_support(ssl) != 1;
  }
  state.shutdown = static_cast<std::uint8_t>(SSL_get_shutdown(ssl));
  save_what_getters_answer(ssl, state);
  TRY(save_buffers(ssl, live, state));
  return finish(state);
}

}  // namespace

bool was_reused(const SSL* ssl) {
  const SslData* kept = find_attachment(ssl);
  const bool since_loaded = kept && kept->loaded &&
                            (kept->replayed_client_random.empty() ||
                             kept->replayed_client_random == client_random_of(ssl));
  return since_loaded ? kept->reused : SSL_session_reused(ssl) == 1;
}

bool in_mid_record(const SSL* ssl) {
  if (const RecordBuffer* buffer = record_buffer(SSL_get_rbio(ssl))) return !buffer->on_boundary();
  // Data that were read ahead come after unread plaintext. If libssl has read exactly the
  // header, SSL_has_pending(3) returns 0, but the read state is "RB".
  if (SSL_pending(ssl) > 0) return SSL_get_read_ahead(ssl);
  return SSL_has_pending(ssl) || std::strcmp(SSL_rstate_string(ssl), "RB") == 0;
}

Phase phase(const SSL* ssl) {
  if (SSL_is_init_finished(ssl)) return Phase::Established;
  if (SSL_in_before(ssl)) return Phase::BeforeHandshake;
  // To libssl a KeyUpdate that it must send is the beginning of another handshake.
  if (SSL_get_state(ssl) == TLS_ST_OK && SSL_get_key_update_type(ssl) != SSL_KEY_UPDATE_NONE)
    return Phase::Established;
  // A server that waits for the rest of a ClientHello has begun its handshake, but libssl
  // has not received a byte of it.
  const RecordBuffer* buffer = record_buffer(SSL_get_rbio(ssl));
  if (SSL_is_server(ssl) && SSL_get_state(ssl) == TLS_ST_BEFORE && buffer && buffer->untouched())
    return Phase::BeforeHandshake;
  return Phase::InHandshake;
}

Result<Secret> save(SSL* ssl) {
  if (is_retired(ssl)) return fail(ESHUTDOWN, "SSL was exported");
  switch (phase(ssl)) {
    case Phase::BeforeHandshake: return save_before_handshake(ssl);
    case Phase::Established: return save_established(ssl);
    case Phase::InHandshake: break;
  }
  return fail(EAGAIN, "handshake is not finished");
}

Result<> retire(SSL* ssl) {
  Result<> gone;
  SSL_set_quiet_shutdown(ssl, 1);
  SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_set_bio(ssl, nullptr, nullptr);
  if (phase(ssl) == Phase::Established) {
    if (auto live = find_live(ssl)) {
      disable(*live->reading);
      disable(*live->writing);
    }
    gone = overwrite_secrets(ssl);
  }
  Registry::get().expect({}, false, {});
  SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  drop_attachment(ssl);
  attachment(ssl).spent = true;
  return gone;
}

Result<> set_fd(SSL* ssl, int fd) {
  BIO* bio = new_record_bio(fd);
  if (!bio) return fail_openssl(ENOMEM, "cannot make a record BIO");
  RecordBuffer* buffer = record_buffer(bio);
  if (SslData* left = find_attachment(ssl)) {
    buffer->preload(left->waiting, left->unsent);
    left->waiting = left->unsent = Bytes();
    (void)buffer->flush();
  }
  SSL_set_bio(ssl, bio, bio);
  return {};
}

void doubt(SSL* ssl) {
  if (RecordBuffer* buffer = record_buffer(SSL_get_rbio(ssl))) buffer->doubt();
}

void suspend(SSL* ssl, bool on) {
  if (RecordBuffer* buffer = record_buffer(SSL_get_rbio(ssl))) buffer->suspend(on);
}

int get_fd(const SSL* ssl) {
  return SSL_get_fd(ssl);
}

std::size_t write_taken(const SSL* ssl) {
  const SslData* loaded = find_attachment(ssl);
  return loaded ? loaded->write_taken : 0;
}

}  // namespace sockmi::tls
