// The keys of both directions change after a move if the application requests it.
#include "cases.h"
#include "pair.h"
#include "wire/envelope.h"
#include "wire/flatbuffer.h"
#include "wire/tls_generated.h"

namespace sockmi::tls::test {
namespace {

class KeyUpdate : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Suites, KeyUpdate,
                         testing::Values(case_of("Tls13Aes128Server"), case_of("Tls13Aes256Client"),
                                         case_of("Tls13ChaChaServer")),
                         kName);

struct Secrets {
  Secret client, server;
};
Secrets secrets_of(SSL* ssl) {
  const auto image = save(ssl);
  EXPECT_TRUE(image);
  const auto body = wire::unseal(wire::kTlsKind, wire::kTlsVersion, *image);
  const auto tls = wire::read<wire::Tls>(*body);
  EXPECT_TRUE(tls);
  return {wire::secret((*tls)->client_secret()), wire::secret((*tls)->server_secret())};
}

// Returns whether an SSL with that image can read the bytes on the wire.
bool reads(const Pair& pair, const Secret& image, const std::string& wire) {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
  const unique_fd own(fds[0]), other(fds[1]);
  SslPtr ssl = pair.fresh();
  EXPECT_TRUE(load(image, ssl.get(), {pair.c.server, true}));
  EXPECT_TRUE(set_fd(ssl.get(), own.get()));
  put(other, wire);
  return read_all(ssl.get()) == "text";
}

TEST_P(KeyUpdate, OldKeysReadNoLaterRecords) {
  Pair pair(GetParam());
  pair.handshake();
  pair.talk("before");
  pair.hop();
  const auto stolen = save(pair.mover.get());
  const Secrets before = secrets_of(pair.mover.get());
  {
    BIO* const wbio = SSL_get_wbio(pair.peer.get());
    BIO_up_ref(wbio);
    Tap tap(pair.peer.get());
    const std::string record = tap.record(pair.peer.get(), "text");
    EXPECT_TRUE(reads(pair, *stolen, record)) << "the test can not fail";
    SSL_set0_wbio(pair.peer.get(), wbio);
    put(pair.peer_fd, record);
    EXPECT_EQ(read_all(pair.mover.get()), "text");
  }
  const auto still_good = save(pair.mover.get());
  ASSERT_TRUE(update_keys(pair.mover.get()));
  pair.talk("both have new keys");
  const Secrets after = secrets_of(pair.mover.get());
  EXPECT_NE(after.client, before.client);
  EXPECT_NE(after.server, before.server);
  Tap tap(pair.peer.get());
  EXPECT_FALSE(reads(pair, *still_good, tap.record(pair.peer.get(), "text")));
}

TEST_P(KeyUpdate, AnUnansweredKeyUpdateMoves) {
  Pair pair(GetParam());
  pair.handshake();
  pair.talk("before");
  ASSERT_TRUE(update_keys(pair.mover.get()));
  pair.hop();
  pair.talk("after");
  ASSERT_TRUE(update_keys(pair.mover.get()));
  pair.talk("again");
}

TEST(KeyUpdateOfTls12, IsRefused) {
  Pair pair(case_of("Tls12Aes128Server"));
  EXPECT_EQ(update_keys(pair.mover.get()).error().code, EAGAIN);
  pair.handshake();
  EXPECT_EQ(update_keys(pair.mover.get()).error().code, ENOTSUP);
  pair.talk("on");
}

}  // namespace
}  // namespace sockmi::tls::test
