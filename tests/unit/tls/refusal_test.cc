// What is not supported is refused with a reason, and continues to work.
#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

void refused(SSL* ssl, int code, std::string_view reason) {
  const auto image = save(ssl);
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, code);
  EXPECT_NE(to_string(image.error()).find(reason), std::string::npos) << to_string(image.error());
}

TEST(Refusal, SaveRefusesOldVersions) {
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    Pair pair({"", version, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", true});
    pair.handshake();
    refused(pair.mover.get(), ENOTSUP, version == TLS1_VERSION ? "TLSv1 with" : "TLSv1.1 with");
    pair.talk("unharmed");
  }
}

TEST(Refusal, SaveRefusesUnsupportedSuites) {
  Pair pair({"", TLS1_2_VERSION, "ECDHE-ECDSA-ARIA128-GCM-SHA256", true});
  pair.handshake();
  refused(pair.mover.get(), ENOTSUP, "ARIA128");
  pair.talk("unharmed");
}

TEST(Refusal, SaveRefusesARenegotiationInProgress) {
  Pair pair(case_of("Tls12Aes128Client"));
  pair.handshake();
  ASSERT_EQ(SSL_renegotiate(pair.mover.get()), 1);
  refused(pair.mover.get(), ENOTSUP, "renegotiation");
}

// A BIO that reports that the kernel encrypts the records, as with kernel TLS.
BIO* kernel_bio(bool send, bool receive) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "kernel TLS");
    BIO_meth_set_ctrl(made, [](BIO* bio, int command, long, void*) -> long {
      const long which = reinterpret_cast<long>(BIO_get_data(bio));
      if (command == BIO_CTRL_GET_KTLS_SEND) return which & 1;
      if (command == BIO_CTRL_GET_KTLS_RECV) return which >> 1;
      return 1;
    });
    return made;
  }();
  BIO* bio = BIO_new(method);
  BIO_set_data(bio, reinterpret_cast<void*>(long{send} | long{receive} << 1));
  BIO_set_init(bio, 1);
  return bio;
}

TEST(Refusal, SaveRefusesKernelTls) {
  for (const auto& [send, receive] : {std::pair(true, false), {false, true}}) {
    Pair pair(case_of("Tls13Aes128Server"));
    pair.handshake();
    BIO* bio = kernel_bio(send, receive);
    SSL_set_bio(pair.mover.get(), bio, bio);
    refused(pair.mover.get(), ENOTSUP, "kernel TLS");
    ASSERT_TRUE(set_fd(pair.mover.get(), pair.mover_fd.get()));
    pair.talk("unharmed");
  }
}

TEST(Refusal, SaveRefusesDtls) {
  const CtxPtr ctx(SSL_CTX_new_ex(with_provider(), nullptr, DTLS_method()));
  give_certificate(ctx.get());
  const SslPtr client(SSL_new(ctx.get())), server(SSL_new(ctx.get()));
  BIO *one = nullptr, *other = nullptr;
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
  const unique_fd a(fds[0]), b(fds[1]);
  one = BIO_new_dgram(fds[0], BIO_NOCLOSE);
  other = BIO_new_dgram(fds[1], BIO_NOCLOSE);
  BIO_ADDR* any = BIO_ADDR_new();
  for (BIO* bio : {one, other})
    BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, any);
  BIO_ADDR_free(any);
  SSL_set_bio(client.get(), one, one);
  SSL_set_bio(server.get(), other, other);
  SSL_set_mtu(client.get(), 1400);
  SSL_set_mtu(server.get(), 1400);
  for (SSL* ssl : {client.get(), server.get()})
    SSL_set_options(ssl, SSL_OP_NO_QUERY_MTU);
  SSL_set_connect_state(client.get());
  SSL_set_accept_state(server.get());
  for (int i = 0; i < 10; ++i)
    for (SSL* ssl : {client.get(), server.get()}) {
      ERR_clear_error();
      SSL_do_handshake(ssl);
    }
  ASSERT_TRUE(SSL_is_init_finished(server.get())) << ERR_reason_error_string(ERR_peek_error());
  refused(server.get(), ENOTSUP, "DTLS");
}

TEST(Refusal, SaveRefusesDtlsBeforeItsHandshake) {
  const CtxPtr ctx(SSL_CTX_new_ex(with_provider(), nullptr, DTLS_method()));
  const SslPtr ssl(SSL_new(ctx.get()));
  SSL_set_accept_state(ssl.get());
  refused(ssl.get(), ENOTSUP, "DTLS");
}

TEST(Refusal, SaveRefusesPostHandshakeAuthentication) {
  Pair pair(case_of("Tls13Aes128Server"));
  SSL_set_post_handshake_auth(pair.peer.get(), 1);
  pair.handshake();
  pair.talk("before");
  SSL* const server = pair.mover.get();
  ASSERT_TRUE(save(server));  // which does not begin a renegotiation
  SSL_set_verify(
      server, SSL_VERIFY_PEER | SSL_VERIFY_POST_HANDSHAKE, +[](int, X509_STORE_CTX*) { return 1; });
  ASSERT_EQ(SSL_verify_client_post_handshake(server), 1);
  ASSERT_EQ(SSL_do_handshake(server), 1);
  refused(server, EAGAIN, "authentication after the handshake");
  EXPECT_EQ(SSL_get_verify_mode(server), SSL_VERIFY_PEER | SSL_VERIFY_POST_HANDSHAKE);
  pair.talk("the client answers");
  X509* const certificate = SSL_get1_peer_certificate(server);
  EXPECT_NE(certificate, nullptr);
  X509_free(certificate);
  pair.hop();
  pair.talk("after");
  // The answer depends on the handshake with the peer, which is unknown here.
  EXPECT_EQ(SSL_verify_client_post_handshake(pair.mover.get()), 0);
  ERR_clear_error();
  pair.talk("on");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
TEST(Refusal, SaveRefusesSrp) {
  Pair pair({"", TLS1_2_VERSION, "SRP-AES-128-CBC-SHA", true});
  SSL_CTX_set_srp_username_callback(
      pair.mover_ctx.get(), +[](SSL* ssl, int*, void*) -> int {
        return SSL_set_srp_server_param_pw(ssl, "user", "password", "1024") == 1 ? SSL_ERROR_NONE
                                                                                 : SSL3_AL_FATAL;
      });
  pair.mover = pair.fresh();
  ASSERT_TRUE(set_fd(pair.mover.get(), pair.mover_fd.get()));
  char user[] = "user", password[] = "password";
  SSL_CTX_set_srp_username(pair.peer_ctx.get(), user);
  SSL_CTX_set_srp_password(pair.peer_ctx.get(), password);
  SSL_CTX_set_srp_strength(pair.peer_ctx.get(), 1);
  pair.peer = Pair::fresh_of(pair.peer_ctx, false);
  SSL_set_fd(pair.peer.get(), pair.peer_fd.get());
  pair.handshake();
  refused(pair.mover.get(), ENOTSUP, "SRP");
  pair.talk("unharmed");
}
#pragma GCC diagnostic pop

TEST(Refusal, LoadRefusesAnImageThatTheContextDoesNotAllow) {
  for (const bool unread : {false, true}) {
    Pair pair(case_of("Tls13Aes128Server"));
    pair.handshake();
    if (unread) {
      char byte;
      ASSERT_EQ(SSL_write(pair.peer.get(), "unread", 6), 6);
      ASSERT_EQ(SSL_peek(pair.mover.get(), &byte, 1), 1);
    }
    const auto image = save(pair.mover.get());
    ASSERT_TRUE(image);
    const CtxPtr old = make_ctx(case_of("Tls12Aes128Server"), with_provider()),
                 unseen = make_ctx(case_of("Tls13Aes128Server"), nullptr);
    for (const CtxPtr* ctx : {&old, &unseen}) {
      SslPtr ssl = Pair::fresh_of(*ctx, true);
      const auto loaded = load(*image, ssl.get(), {true, true});
      ASSERT_FALSE(loaded);
      EXPECT_EQ(loaded.error().code, ctx == &old ? ENOTSUP : ENOKEY) << to_string(loaded.error());
      EXPECT_TRUE(SSL_in_before(ssl.get()));
    }
    pair.hop();
    EXPECT_EQ(read_all(pair.mover.get()), unread ? "unread" : "");
    pair.talk("on");
  }
}

TEST(Refusal, LoadRefusesAnotherAlpnChoice) {
  Pair pair(case_of("Tls13Aes128Server"));
  pair.handshake();
  const auto image = save(pair.mover.get());
  SSL_CTX_set_alpn_select_cb(pair.mover_ctx.get(), nullptr, nullptr);
  SslPtr ssl = pair.fresh();
  EXPECT_EQ(load(*image, ssl.get(), {true, true}).error().code, ENOTSUP);
}

}  // namespace
}  // namespace sockmi::tls::test
