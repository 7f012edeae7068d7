// A TLS connection over a socketpair: one end ("mover") with the provider and our BIO, the other ("peer") plain OpenSSL.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/unique_fd.h"
#include "tls/tls.h"

namespace sockmi::tls::test {

struct Case {
  const char* name;
  int version;
  const char* suite;
  bool server;  // the mover's role
  std::uint64_t options = 0;  // SSL_OP_*, of both
};

struct SslFree { void operator()(SSL* p) const { SSL_free(p); } };
struct CtxFree { void operator()(SSL_CTX* p) const { SSL_CTX_free(p); } };
using SslPtr = std::unique_ptr<SSL, SslFree>;
using CtxPtr = std::unique_ptr<SSL_CTX, CtxFree>;

inline OSSL_LIB_CTX* with_provider() {
  static OSSL_LIB_CTX* ctx = [] {
    auto* c = OSSL_LIB_CTX_new();
    if (!enable(c)) std::abort();
    return c;
  }();
  return ctx;
}

inline void give_certificate(SSL_CTX* ctx) {
  static EVP_PKEY* const keys[] = {EVP_EC_gen("P-256"), EVP_RSA_gen(2048)};
  static const auto certify = [](EVP_PKEY* key) {
    X509* x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_sign(x, key, EVP_sha256());
    return x;
  };
  static X509* const certificates[] = {certify(keys[0]), certify(keys[1])};
  for (int i = 0; i < 2; ++i) SSL_CTX_use_cert_and_key(ctx, certificates[i], keys[i], nullptr, 1);
}

inline CtxPtr make_ctx(const Case& c, OSSL_LIB_CTX* libctx) {
  CtxPtr ctx(SSL_CTX_new_ex(libctx, nullptr, TLS_method()));
  SSL_CTX_set_min_proto_version(ctx.get(), c.version);
  SSL_CTX_set_max_proto_version(ctx.get(), c.version);
  SSL_CTX_set_security_level(ctx.get(), 0);  // CCM-8 has a short tag
  SSL_CTX_set_options(ctx.get(), c.options);
  SSL_CTX_set_dh_auto(ctx.get(), 1);
  if (c.version == TLS1_3_VERSION) SSL_CTX_set_ciphersuites(ctx.get(), c.suite);
  else SSL_CTX_set_cipher_list(ctx.get(), c.suite);
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  give_certificate(ctx.get());
  SSL_CTX_set_alpn_select_cb(ctx.get(), [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned, void*) {
    *out = in + 1;
    *size = in[0];
    return SSL_TLSEXT_ERR_OK;
  }, nullptr);
  return ctx;
}

struct Pair {
  Case c;
  CtxPtr mover_ctx, peer_ctx;
  unique_fd mover_fd, peer_fd;
  SslPtr mover, peer;

  explicit Pair(const Case& c, bool provider = true) : c(c), mover_ctx(make_ctx(c, provider ? with_provider() : nullptr)), peer_ctx(make_ctx(c, nullptr)) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    mover_fd.reset(fds[0]);
    peer_fd.reset(fds[1]);
    mover = fresh();
    EXPECT_TRUE(set_fd(mover.get(), mover_fd.get()));
    peer.reset(SSL_new(peer_ctx.get()));
    SSL_set_fd(peer.get(), peer_fd.get());
    if (c.server) SSL_set_connect_state(peer.get());
    else SSL_set_accept_state(peer.get());
    SSL* client = c.server ? peer.get() : mover.get();
    SSL_set_alpn_protos(client, reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    SSL_set_tlsext_host_name(client, "server.test");
  }

  SslPtr fresh() const {
    SslPtr ssl(SSL_new(mover_ctx.get()));
    if (c.server) SSL_set_accept_state(ssl.get());
    else SSL_set_connect_state(ssl.get());
    return ssl;
  }

  void handshake() {
    for (int i = 0; i < 20 && !(SSL_is_init_finished(mover.get()) && SSL_is_init_finished(peer.get())); ++i) {
      SSL_do_handshake(mover.get());
      SSL_do_handshake(peer.get());
    }
    ERR_clear_error();
    ASSERT_TRUE(SSL_is_init_finished(mover.get()));
    ASSERT_TRUE(SSL_is_init_finished(peer.get()));
  }

  // Replaces the mover by another SSL that was loaded from its image.
  void hop() {
    const bool established = phase(mover.get()) == Phase::established;
    auto image = save(mover.get());
    ASSERT_TRUE(image) << to_string(image.error());
    spend(mover.get());
    SslPtr next = fresh();
    auto loaded = load(*image, next.get(), {c.server, established});
    ASSERT_TRUE(loaded) << to_string(loaded.error());
    ASSERT_TRUE(set_fd(next.get(), mover_fd.get()));
    mover = std::move(next);
  }

  static void transfer(SSL* from, SSL* to, const std::string& text) {
    std::string got;
    std::size_t sent = 0;
    char bytes[20000];
    for (int i = 0; got.size() < text.size() && i < 10000; ++i) {
      if (sent < text.size())
        if (const int n = SSL_write(from, text.data() + sent, static_cast<int>(text.size() - sent)); n > 0) sent += static_cast<std::size_t>(n);
      if (const int n = SSL_read(to, bytes, sizeof bytes); n > 0) got.append(bytes, static_cast<std::size_t>(n));
    }
    ERR_clear_error();
    ASSERT_TRUE(got == text) << got.size() << " of " << text.size();
  }
  void talk(const std::string& text) {
    transfer(mover.get(), peer.get(), text);
    transfer(peer.get(), mover.get(), text);
  }
};

inline std::string pattern(std::size_t size) {
  std::string out(size, 0);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>(i * 131 + i / 251);
  return out;
}

}  // namespace sockmi::tls::test
