// Tests what only TLS 1.2 has: explicit nonces, session ids, renegotiation.
#include <cstring>
#include <set>

#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

TEST(Tls12, NoExplicitNonceIsUsedTwice) {
  for (const char* name :
       {"Tls12Aes128Server", "Tls12Aes256Client", "Tls12CcmServer", "Tls12Ccm8Client"}) {
    Pair pair(case_of(name));
    pair.handshake();
    pair.talk("some were used");
    std::set<std::string> nonces;
    {
      Tap tap(pair.mover.get());
      nonces.insert(tap.record(pair.mover.get(), "x").substr(5, 8));
    }
    for (int hop = 0; hop < 4; ++hop) {
      pair.hop();
      Tap tap(pair.mover.get());
      for (int i = 0; i < 3; ++i)
        EXPECT_TRUE(nonces.insert(tap.record(pair.mover.get(), "x").substr(5, 8)).second)
            << name << ' ' << hop << ' ' << i;
    }
  }
}

TEST(Tls12, TheSessionIdMoves) {
  for (const char* name : {"Tls12Aes128Server", "Tls12Aes256Client"}) {
    Pair pair(case_of(name));
    SSL_CTX_set_options(pair.peer_ctx.get(), SSL_OP_NO_TICKET);
    SSL_set_options(pair.peer.get(), SSL_OP_NO_TICKET);
    pair.handshake();
    const auto id = [](const SSL* ssl) {
      unsigned size = 0;
      const unsigned char* bytes = SSL_SESSION_get_id(SSL_get_session(ssl), &size);
      return std::string(reinterpret_cast<const char*>(bytes), size);
    };
    const std::string before = id(pair.mover.get());
    ASSERT_EQ(before.size(), 32u);
    pair.hop();
    EXPECT_EQ(id(pair.mover.get()), before) << name;
  }
}

TEST(Tls12, AClientResumesWithTheSessionOfALoadedSsl) {
  Pair pair(case_of("Tls12Aes128Client"));
  pair.handshake();
  pair.hop();
  SSL_SESSION* session = SSL_get1_session(pair.mover.get());
  SSL_set_shutdown(pair.mover.get(), SSL_SENT_SHUTDOWN);
  SSL_set_shutdown(pair.peer.get(), SSL_SENT_SHUTDOWN);
  pair.mover = pair.fresh();
  pair.peer = Pair::fresh_of(pair.peer_ctx, true);
  ASSERT_TRUE(set_fd(pair.mover.get(), pair.mover_fd.get()));
  SSL_set_fd(pair.peer.get(), pair.peer_fd.get());
  SSL_set_session(pair.mover.get(), session);
  SSL_SESSION_free(session);
  pair.handshake();
  EXPECT_TRUE(SSL_session_reused(pair.mover.get()));
  pair.hop();
  EXPECT_TRUE(was_reused(pair.mover.get()));
  pair.talk("on");
}

// As for servers that share their sessions in a cache of their own.
TEST(Tls12, AServerWithoutInternalCacheMoves) {
  for (const Case& c : kFamilies) {
    if (c.version != TLS1_2_VERSION || !c.server) continue;
    Pair pair(c);
    SSL_CTX_set_session_cache_mode(pair.mover_ctx.get(),
                                   SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    pair.handshake();
    for (int hop = 0; hop < 3; ++hop) {
      pair.hop();
      pair.talk("moved");
      EXPECT_STREQ(SSL_get_cipher_name(pair.mover.get()), c.suite);
      EXPECT_STREQ(SSL_get_servername(pair.mover.get(), TLSEXT_NAMETYPE_host_name), "server.test");
      unsigned char ours[32], theirs[32];
      ASSERT_EQ(
          SSL_export_keying_material(pair.mover.get(), ours, 32, "EXPORTER-x", 10, nullptr, 0, 0),
          1);
      ASSERT_EQ(
          SSL_export_keying_material(pair.peer.get(), theirs, 32, "EXPORTER-x", 10, nullptr, 0, 0),
          1);
      EXPECT_EQ(std::memcmp(ours, theirs, 32), 0);
    }
    EXPECT_EQ(SSL_CTX_sess_number(pair.mover_ctx.get()), 0);
  }
}

// The server requests it and the client begins: its Finished of the first handshake must
// be the real one (RFC 5746).
TEST(Tls12, RenegotiationWorksAfterAMove) {
  for (const char* name : {"Tls12Aes128Client", "Tls12CbcSha384Client", "Tls12ChaChaClient",
                           "Tls12MacFirstSha1Client", "Tls12Aes128Server", "Tls12CbcSha1Server"}) {
    Pair pair(case_of(name));
    pair.handshake();
    pair.hop();
    ASSERT_EQ(SSL_renegotiate(pair.server()), 1);
    EXPECT_EQ(pair.c.server ? save(pair.mover.get()).error().code : ENOTSUP, ENOTSUP)
        << "under way";
    char byte;
    for (int i = 0; i < 10; ++i) {
      SSL_do_handshake(pair.server());
      (void)SSL_read(pair.client(), &byte, 1);
      (void)SSL_read(pair.server(), &byte, 1);
    }
    ERR_clear_error();
    EXPECT_FALSE(SSL_renegotiate_pending(pair.server())) << name;
    EXPECT_EQ(SSL_num_renegotiations(pair.client()), 1) << name;
    pair.talk("renegotiated");
    pair.hop();
    pair.talk("moved again");
    EXPECT_EQ(was_reused(pair.mover.get()), SSL_session_reused(pair.peer.get()) == 1) << name;
  }
}

}  // namespace
}  // namespace sockmi::tls::test
