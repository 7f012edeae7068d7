// A loaded SSL is a genuine one: it can do what TLS can do, and its getters return what
// those of the saved SSL returned.
#include <cstring>

#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

class LoadedSsl : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Families, LoadedSsl, testing::ValuesIn(kFamilies), kName);

TEST_P(LoadedSsl, ExchangesTwentyMessagesAfterEachOfFiveHops) {
  Pair pair(GetParam());
  pair.handshake();
  for (int hop = 0; hop < 5; ++hop) {
    pair.hop();
    for (int i = 0; i < 20; ++i)
      pair.talk("exchange " + std::to_string(hop * 20 + i));
  }
}

TEST_P(LoadedSsl, ExchangesAThousandMessages) {
  Pair pair(GetParam());
  pair.handshake();
  pair.hop();
  for (int i = 0; i < 1000; ++i)
    pair.talk(std::to_string(i));
}

// --- both ends of one connection ---

TEST_P(LoadedSsl, BothEndsMoveInTurn) {
  Pair pair(GetParam(), true, /*peer_moves=*/true);
  pair.handshake();
  for (int i = 0; i < 4; ++i) {
    i % 2 ? pair.hop() : pair.hop_peer();
    pair.talk("moved " + std::to_string(i));
  }
}

TEST_P(LoadedSsl, BothEndsMoveAtTheSameTime) {
  Pair pair(GetParam(), true, /*peer_moves=*/true);
  pair.handshake();
  read_all(pair.mover.get());
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(SSL_write(pair.mover.get(), "on its way", 10), 10);
    ASSERT_EQ(SSL_write(pair.peer.get(), "to and fro", 10), 10);
    auto one = save(pair.mover.get()), other = save(pair.peer.get());
    ASSERT_TRUE(one && other);
    retire(pair.mover.get());
    retire(pair.peer.get());
    pair.mover = pair.fresh();
    pair.peer = Pair::fresh_of(pair.peer_ctx, !GetParam().server);
    ASSERT_TRUE(load(*other, pair.peer.get(), {!GetParam().server, true}));
    ASSERT_TRUE(load(*one, pair.mover.get(), {GetParam().server, true}));
    ASSERT_TRUE(set_fd(pair.mover.get(), pair.mover_fd.get()));
    ASSERT_TRUE(set_fd(pair.peer.get(), pair.peer_fd.get()));
    EXPECT_EQ(read_all(pair.peer.get()), "on its way");
    EXPECT_EQ(read_all(pair.mover.get()), "to and fro");
  }
}

// --- an SSL that was saved but not exported continues to work ---

TEST_P(LoadedSsl, TheSavedSslWorksIfItsImageIsNotUsed) {
  Pair pair(GetParam());
  pair.handshake();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(save(pair.mover.get()));
    pair.talk("saved, not moved");
  }
  // An image is loaded here and discarded: the saved SSL is the live one.
  SslPtr other = pair.fresh();
  const auto image = save(pair.mover.get());
  ASSERT_TRUE(load(*image, other.get(), {GetParam().server, true}));
  SSL_set_quiet_shutdown(other.get(), 1);
  pair.talk("while it lives");
  pair.hop();
  pair.talk("moved while it lives");
  other.reset();
  pair.talk("after it is gone");
  pair.hop();
  pair.talk("moved");
}

// --- close_notify ---

TEST_P(LoadedSsl, ReadsAfterASentCloseNotify) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  ASSERT_EQ(SSL_shutdown(pair.mover.get()), 0);
  pair.hop();
  EXPECT_EQ(SSL_get_shutdown(pair.mover.get()), SSL_SENT_SHUTDOWN);
  char byte;
  ASSERT_EQ(SSL_read(pair.peer.get(), &byte, 1), 0);
  ASSERT_EQ(SSL_get_error(pair.peer.get(), 0), SSL_ERROR_ZERO_RETURN);
  ASSERT_EQ(SSL_write(pair.peer.get(), "the rest", 8), 8);
  EXPECT_EQ(read_all(pair.mover.get()), "the rest");
  EXPECT_LE(SSL_write(pair.mover.get(), "x", 1), 0);
  ERR_clear_error();
  ASSERT_EQ(SSL_shutdown(pair.peer.get()), 1);
  EXPECT_EQ(SSL_shutdown(pair.mover.get()), 1);
}

TEST_P(LoadedSsl, WritesAfterAReceivedCloseNotify) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  ASSERT_EQ(SSL_shutdown(pair.peer.get()), 0);
  char byte;
  ASSERT_EQ(SSL_read(pair.mover.get(), &byte, 1), 0);
  for (int hop = 0; hop < 2; ++hop) {
    pair.hop();
    EXPECT_EQ(SSL_get_shutdown(pair.mover.get()), SSL_RECEIVED_SHUTDOWN);
    const int result = SSL_read(pair.mover.get(), &byte, 1);
    EXPECT_EQ(result, 0);
    EXPECT_EQ(SSL_get_error(pair.mover.get(), result), SSL_ERROR_ZERO_RETURN);
    ASSERT_EQ(SSL_write(pair.mover.get(), "half closed", 11), 11);
    EXPECT_EQ(read_all(pair.peer.get()), "half closed");
  }
  EXPECT_EQ(SSL_shutdown(pair.mover.get()), 1);
  EXPECT_EQ(SSL_shutdown(pair.peer.get()), 1);
}

TEST_P(LoadedSsl, ReadsACloseNotifyThatArrivedDuringTheMove) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  ASSERT_EQ(SSL_write(pair.peer.get(), "last words", 10), 10);
  ASSERT_EQ(SSL_shutdown(pair.peer.get()), 0);
  char bytes[4];
  ASSERT_EQ(SSL_read(pair.mover.get(), bytes, 4), 4);
  pair.hop();
  EXPECT_EQ(read_all(pair.mover.get()), " words");
  EXPECT_EQ(SSL_get_shutdown(pair.mover.get()), SSL_RECEIVED_SHUTDOWN);
}

// --- getters ---

struct Answers {
  std::string finished, peer_finished, alpn, name, cipher, version;
  long verify;
  int reused, extms;
  std::size_t tickets;
  unsigned char fragment;
  bool operator==(const Answers&) const = default;
};
Answers ask(SSL* ssl) {
  char ours[64], theirs[64];
  const std::size_t our_size = SSL_get_finished(ssl, ours, sizeof ours),
                    their_size = SSL_get_peer_finished(ssl, theirs, sizeof theirs);
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  // verify_data is in the image for TLS 1.2, where it is a channel binding.
  const bool tls12 = SSL_version(ssl) == TLS1_2_VERSION;
  return {.finished = tls12 ? std::string(ours, our_size) : "",
          .peer_finished = tls12 ? std::string(theirs, their_size) : "",
          .alpn = std::string(reinterpret_cast<const char*>(alpn), size),
          .name = name ? name : "",
          .cipher = SSL_get_cipher_name(ssl),
          .version = SSL_get_version(ssl),
          .verify = SSL_get_verify_result(ssl),
          .reused = was_reused(ssl),
          .extms = static_cast<int>(SSL_get_extms_support(ssl)),
          .tickets = SSL_get_num_tickets(ssl),
          .fragment = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl))};
}

TEST_P(LoadedSsl, GettersReturnWhatTheSavedSslReturned) {
  Pair pair(GetParam());
  SSL_set_num_tickets(pair.mover.get(), 5);
  SSL_set_tlsext_max_fragment_length(pair.client(), TLSEXT_max_fragment_length_1024);
  pair.handshake();
  const Answers before = ask(pair.mover.get());
  EXPECT_EQ(before.name, "server.test");
  for (int hop = 0; hop < 2; ++hop) {
    pair.hop();
    EXPECT_TRUE(ask(pair.mover.get()) == before);
  }
  if (GetParam().version == TLS1_2_VERSION) {
    EXPECT_EQ(ask(pair.peer.get()).peer_finished, before.finished) << "tls-unique";
  }
  // The limit is kept, and shorter records arrive.
  Tap tap(pair.mover.get());
  ASSERT_GT(SSL_write(pair.mover.get(), pattern(3000).data(), 3000), 0);
  const std::string wire = tap.take();
  EXPECT_LT(static_cast<unsigned char>(wire[3]) << 8 | static_cast<unsigned char>(wire[4]),
            1024 + 256);
}

// The protocol was offered and not chosen, or not offered and wanted.
TEST_P(LoadedSsl, AnAlpnThatWasNotChosenStaysUnset) {
  for (const bool offered : {true, false}) {
    Pair pair(GetParam());
    if (offered)
      SSL_CTX_set_alpn_select_cb(GetParam().server ? pair.mover_ctx.get() : pair.peer_ctx.get(),
                                 nullptr, nullptr);
    else
      SSL_set_alpn_protos(pair.client(), nullptr, 0);
    if (!GetParam().server && offered)
      SSL_CTX_set_alpn_protos(pair.mover_ctx.get(),
                              reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    pair.handshake();
    for (int hop = 0; hop < 2; ++hop) {
      pair.hop();
      EXPECT_EQ(ask(pair.mover.get()).alpn, "");
    }
    pair.talk("on");
  }
}

TEST_P(LoadedSsl, KeepsTheApplicationsExData) {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  Pair pair(GetParam());
  pair.handshake();
  const auto image = save(pair.mover.get());
  SslPtr next = pair.fresh();
  int mine = 7;
  SSL_set_ex_data(next.get(), index, &mine);
  ASSERT_TRUE(load(*image, next.get(), {GetParam().server, true}));
  EXPECT_EQ(SSL_get_ex_data(next.get(), index), &mine);
  SSL_set_quiet_shutdown(next.get(), 1);
}

std::vector<std::string> chain_of(const SSL* ssl) {
  std::vector<std::string> out;
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  for (int i = 0; chain && i < sk_X509_num(chain); ++i) {
    unsigned char* der = nullptr;
    const int size = i2d_X509(sk_X509_value(chain, i), &der);
    out.emplace_back(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
    OPENSSL_free(der);
  }
  return out;
}

TEST_P(LoadedSsl, KeepsThePeersChainAndVerifyResult) {
  Pair pair(GetParam());
  // Any certificates will do for a chain that is not verified.
  for (const long key : {SSL_CERT_SET_FIRST, SSL_CERT_SET_NEXT}) {
    SSL_set_current_cert(pair.peer.get(), key);
    for (int i = 0; i < 2; ++i)
      SSL_add1_chain_cert(pair.peer.get(), SSL_CTX_get0_certificate(pair.mover_ctx.get()));
  }
  SSL_set_verify(pair.mover.get(), SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
  static constexpr unsigned char kId[] = "chain";
  SSL_set_session_id_context(pair.server(), kId, sizeof kId);
  pair.handshake();
  pair.talk("x");
  const auto before = chain_of(pair.mover.get());
  EXPECT_EQ(before.size(), GetParam().server ? 2u : 3u);
  const long verified = SSL_get_verify_result(pair.mover.get());
  EXPECT_NE(verified, X509_V_OK) << "self-signed";
  for (int hop = 0; hop < 2; ++hop) {
    pair.hop();
    EXPECT_TRUE(chain_of(pair.mover.get()) == before);
    EXPECT_EQ(SSL_get_verify_result(pair.mover.get()), verified);
    const X509* leaf = SSL_get0_peer_certificate(pair.mover.get());
    ASSERT_NE(leaf, nullptr);
    EXPECT_EQ(X509_cmp(leaf, SSL_get_certificate(pair.peer.get())), 0);
  }
  pair.talk("on");
}

}  // namespace
}  // namespace sockmi::tls::test
