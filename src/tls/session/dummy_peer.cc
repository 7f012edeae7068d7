#include "tls/session/dummy_peer.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "tls/provider/dispatch.h"
#include "tls/session/memory_link.h"
#include "tls/tls.h"

namespace sockmi::tls {
namespace {

OSSL_LIB_CTX* dummy_library() {
  static OSSL_LIB_CTX* const it = [] {
    OSSL_LIB_CTX* made = OSSL_LIB_CTX_new();
    if (!made || !enable(made)) std::abort();
    return made;
  }();
  return it;
}

int alpn_index() {
  static const int it = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return it;
}
int select_alpn(SSL* ssl, const unsigned char** out, unsigned char* size, const unsigned char* in,
                unsigned in_size, void*) {
  const auto* wanted = static_cast<const ByteView*>(SSL_get_ex_data(ssl, alpn_index()));
  if (!wanted || wanted->empty()) return SSL_TLSEXT_ERR_NOACK;
  for (unsigned at = 0; at < in_size && at + 1 + in[at] <= in_size; at += 1 + in[at]) {
    if (!std::ranges::equal(ByteView(in + at + 1, in[at]), *wanted)) continue;
    *size = in[at];
    *out = in + at + 1;
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

X509* certify(EVP_PKEY* key) {
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  return certificate;
}

// Only a handshake gives a session a certificate chain. This one is performed once per
// process, with a temporary certificate.
SSL_SESSION* handshake_with_certificate() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = certify(key);
  SSL_CTX* ctx = SSL_CTX_new_ex(DefaultProvider::get().libctx, nullptr, TLS_method());
  SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
  // With a ticket, d2i_SSL_SESSION(3) would later leave this ticket's size in a session
  // that has no ticket.
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  SSL_CTX_use_cert_and_key(ctx, certificate, key, nullptr, 1);
  const SslPointer client(SSL_new(ctx)), server(SSL_new(ctx));
  SSL_set_connect_state(client.get());
  SSL_set_accept_state(server.get());
  SSL_SESSION* session =
      connect_in_memory(client.get(), server.get()) && shake_hands(client.get(), server.get())
          ? SSL_get1_session(client.get())
          : nullptr;
  // Without this, freeing the client marks the session as not resumable.
  SSL_set_shutdown(client.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_CTX_free(ctx);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return session;
}

}  // namespace

SSL_CTX* dummy_context(int version, const SSL_CIPHER* cipher) {
  static std::mutex mutex;
  static auto* contexts = new std::map<std::pair<int, std::uint32_t>, SSL_CTX*>;
  std::lock_guard lock(mutex);
  SSL_CTX*& ctx = (*contexts)[{version, SSL_CIPHER_get_id(cipher)}];
  if (ctx) return ctx;
  ctx = SSL_CTX_new_ex(dummy_library(), nullptr, TLS_method());
  const char* name = SSL_CIPHER_get_name(cipher);
  SSL_CTX_set_security_level(ctx, 0);
  SSL_CTX_set_min_proto_version(ctx, version);
  SSL_CTX_set_max_proto_version(ctx, version);
  if (version == TLS1_3_VERSION) {
    SSL_CTX_set_ciphersuites(ctx, name);
  } else {
    SSL_CTX_set_cipher_list(ctx, name);
  }
  SSL_CTX_set_alpn_select_cb(ctx, select_alpn, nullptr);
  // Without this callback, an SSL that is only temporarily in this context would call the
  // callback of the context it was made from.
  SSL_CTX_set_tlsext_servername_callback(
      ctx, +[](SSL*, int*, void*) -> int { return SSL_TLSEXT_ERR_NOACK; });
  // Without this callback, a client does not offer the suites with a pre-shared key. A
  // resumption does not call it.
  if (version != TLS1_3_VERSION) {
    SSL_CTX_set_psk_client_callback(
        ctx, [](SSL*, const char*, char*, unsigned, unsigned char*, unsigned) { return 0u; });
  }
  SSL_CTX_set_options(ctx, SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER);
  return ctx;
}

void choose_alpn(SSL* dummy, const ByteView* protocol) {
  SSL_set_ex_data(dummy, alpn_index(), const_cast<ByteView*>(protocol));
}

SSL_SESSION* new_session_with_chain() {
  static SSL_SESSION* const origin = handshake_with_certificate();
  return origin ? SSL_SESSION_dup(origin) : nullptr;
}

}  // namespace sockmi::tls
