// A TLS connection over a socketpair: one end ("mover") uses the provider and our BIO,
// the other ("peer") plain OpenSSL.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/openssl_ptr.h"
#include "base/unique_fd.h"
#include "tls/tls.h"

namespace sockmi::tls::test {

struct Case {
  const char* name;
  int version;
  const char* suite;
  bool server;                // the mover's role
  std::uint64_t options = 0;  // SSL_OP_*, of both
};

using SslPtr = OpenSslPointer<SSL, SSL_free>;
using CtxPtr = OpenSslPointer<SSL_CTX, SSL_CTX_free>;

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
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_sign(x, key, EVP_sha256());
    return x;
  };
  static X509* const certificates[] = {certify(keys[0]), certify(keys[1])};
  for (int i = 0; i < 2; ++i)
    SSL_CTX_use_cert_and_key(ctx, certificates[i], keys[i], nullptr, 1);
}

inline void give_psk(SSL_CTX* ctx) {
  SSL_CTX_set_psk_client_callback(
      ctx, [](SSL*, const char*, char* identity, unsigned room, unsigned char* key, unsigned) {
        std::snprintf(identity, room, "somebody");
        std::memset(key, 7, 16);
        return 16u;
      });
  SSL_CTX_set_psk_server_callback(ctx, [](SSL*, const char*, unsigned char* key, unsigned) {
    std::memset(key, 7, 16);
    return 16u;
  });
}

inline CtxPtr make_ctx(const Case& c, OSSL_LIB_CTX* libctx) {
  CtxPtr ctx(SSL_CTX_new_ex(libctx, nullptr, TLS_method()));
  SSL_CTX_set_min_proto_version(ctx.get(), c.version);
  SSL_CTX_set_max_proto_version(ctx.get(), c.version);
  SSL_CTX_set_security_level(ctx.get(), 0);  // CCM-8 has a short tag
  SSL_CTX_set_options(ctx.get(), c.options);
  SSL_CTX_set_dh_auto(ctx.get(), 1);
  if (c.version == TLS1_3_VERSION)
    SSL_CTX_set_ciphersuites(ctx.get(), c.suite);
  else
    SSL_CTX_set_cipher_list(ctx.get(), c.suite);
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  give_certificate(ctx.get());
  if (std::string_view(c.suite).find("PSK") != std::string_view::npos) give_psk(ctx.get());
  SSL_CTX_set_alpn_select_cb(
      ctx.get(),
      [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned,
         void*) {
        *out = in + 1;
        *size = in[0];
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  return ctx;
}

struct Pair {
  Case c;
  CtxPtr mover_ctx,
      peer_ctx;  // a mover uses sockmi; its peer is plain OpenSSL, unless it moves too
  unique_fd mover_fd, peer_fd;
  SslPtr mover, peer;

  explicit Pair(const Case& c, bool provider = true, bool peer_moves = false)
      : c(c),
        mover_ctx(make_ctx(c, provider ? with_provider() : nullptr)),
        peer_ctx(make_ctx(c, peer_moves ? with_provider() : nullptr)) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    mover_fd.reset(fds[0]);
    peer_fd.reset(fds[1]);
    mover = fresh();
    EXPECT_TRUE(set_fd(mover.get(), mover_fd.get()));
    peer = fresh_of(peer_ctx, !c.server);
    if (peer_moves)
      EXPECT_TRUE(set_fd(peer.get(), peer_fd.get()));
    else
      SSL_set_fd(peer.get(), peer_fd.get());
    SSL_set_alpn_protos(client(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    SSL_set_tlsext_host_name(client(), "server.test");
  }

  static SslPtr fresh_of(const CtxPtr& ctx, bool server) {
    SslPtr ssl(SSL_new(ctx.get()));
    if (server)
      SSL_set_accept_state(ssl.get());
    else
      SSL_set_connect_state(ssl.get());
    return ssl;
  }
  SslPtr fresh() const { return fresh_of(mover_ctx, c.server); }
  SSL* client() const { return c.server ? peer.get() : mover.get(); }
  SSL* server() const { return c.server ? mover.get() : peer.get(); }

  void handshake() {
    for (int i = 0;
         i < 20 && !(SSL_is_init_finished(mover.get()) && SSL_is_init_finished(peer.get())); ++i) {
      SSL_do_handshake(mover.get());
      SSL_do_handshake(peer.get());
    }
    ERR_clear_error();
    ASSERT_TRUE(SSL_is_init_finished(mover.get()));
    ASSERT_TRUE(SSL_is_init_finished(peer.get()));
  }

  // Replaces an SSL by another one that is loaded from its image.
  static void hop_of(SslPtr& ssl, const CtxPtr& ctx, const unique_fd& fd, bool server) {
    const bool established = phase(ssl.get()) == Phase::Established;
    auto image = save(ssl.get());
    ASSERT_TRUE(image) << to_string(image.error());
    retire(ssl.get());
    SslPtr next = fresh_of(ctx, server);
    auto loaded = load(*image, next.get(), {server, established});
    ASSERT_TRUE(loaded) << to_string(loaded.error());
    ASSERT_TRUE(set_fd(next.get(), fd.get()));
    ssl = std::move(next);
  }
  void hop() { hop_of(mover, mover_ctx, mover_fd, c.server); }
  void hop_peer() { hop_of(peer, peer_ctx, peer_fd, !c.server); }

  static void transfer(SSL* from, SSL* to, const std::string& text) {
    std::string got;
    std::size_t sent = 0;
    char bytes[20000];
    for (int i = 0; got.size() < text.size() && i < 10000; ++i) {
      if (sent < text.size())
        if (const int n = SSL_write(from, text.data() + sent, static_cast<int>(text.size() - sent));
            n > 0)
          sent += static_cast<std::size_t>(n);
      if (const int n = SSL_read(to, bytes, sizeof bytes); n > 0)
        got.append(bytes, static_cast<std::size_t>(n));
    }
    ERR_clear_error();
    ASSERT_TRUE(got == text) << got.size() << " of " << text.size();
  }
  void talk(const std::string& text) {
    transfer(mover.get(), peer.get(), text);
    transfer(peer.get(), mover.get(), text);
  }
};

// Redirects what an SSL writes from its socket into a buffer.
class Tap {
 public:
  explicit Tap(SSL* ssl) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    in_.reset(fds[0]);
    out_.reset(fds[1]);
    SSL_set0_wbio(ssl, BIO_new_socket(in_.get(), BIO_NOCLOSE));
  }
  std::string take() {
    std::string all(1 << 18, 0);
    const ssize_t got = ::recv(out_.get(), all.data(), all.size(), 0);
    all.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return all;
  }
  // Returns the record that carries `text`.
  std::string record(SSL* ssl, std::string_view text) {
    EXPECT_EQ(SSL_write(ssl, text.data(), static_cast<int>(text.size())),
              static_cast<int>(text.size()));
    return take();
  }

 private:
  unique_fd in_, out_;
};

inline void put(const unique_fd& fd, std::string_view bytes) {
  ASSERT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

// Returns everything that can be read now.
inline std::string read_all(SSL* ssl) {
  std::string all;
  char bytes[20000];
  for (int n; (n = SSL_read(ssl, bytes, sizeof bytes)) > 0;)
    all.append(bytes, static_cast<std::size_t>(n));
  ERR_clear_error();
  return all;
}

inline std::string pattern(std::size_t size) {
  std::string out(size, 0);
  for (std::size_t i = 0; i < size; ++i)
    out[i] = static_cast<char>(i * 131 + i / 251);
  return out;
}

}  // namespace sockmi::tls::test
