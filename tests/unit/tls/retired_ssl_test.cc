// After an export the old SSL can neither read nor write, and holds no secret.
#include "base/freeze_mark.h"
#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

class RetiredSsl : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Suites, RetiredSsl, testing::ValuesIn(kCases), kName);

TEST_P(RetiredSsl, EveryCallFailsAndNothingIsSent) {
  Pair pair(GetParam());
  pair.handshake();
  pair.talk("before");
  SSL* ssl = pair.mover.get();
  retire(ssl);
  EXPECT_EQ(SSL_get_session(ssl), nullptr);
  char bytes[32];
  std::size_t size = 0;
  EXPECT_LE(SSL_write(ssl, "x", 1), 0);
  EXPECT_EQ(SSL_write_ex(ssl, "x", 1, &size), 0);
  EXPECT_LE(SSL_read(ssl, bytes, 1), 0);
  EXPECT_LE(SSL_peek(ssl, bytes, 1), 0);
  EXPECT_EQ(SSL_pending(ssl), 0);
  EXPECT_LE(SSL_do_handshake(ssl), 0);
  EXPECT_LE(SSL_export_keying_material(ssl, reinterpret_cast<unsigned char*>(bytes), 32,
                                       "EXPORTER-x", 10, nullptr, 0, 0),
            0);
  EXPECT_EQ(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 0);
  EXPECT_EQ(save(ssl).error().code, ESHUTDOWN);
  SSL_shutdown(ssl);
  pair.mover.reset();
  while (SSL_read(pair.peer.get(), bytes, sizeof bytes) > 0) {
  }
  EXPECT_EQ(::recv(pair.peer_fd.get(), bytes, sizeof bytes, MSG_DONTWAIT), -1)
      << "something went out";
  ERR_clear_error();
}

TEST_P(RetiredSsl, ServesAnotherConnectionAfterClear) {
  Pair first(GetParam()), second(GetParam());
  first.handshake();
  retire(first.mover.get());
  SSL_clear(first.mover.get());
  second.mover = std::move(first.mover);
  ASSERT_TRUE(set_fd(second.mover.get(), second.mover_fd.get()));
  if (!GetParam().server) SSL_set_tlsext_host_name(second.mover.get(), "server.test");
  second.handshake();
  second.hop();
  second.talk("another life");
}

// The export's outcome is not known yet.
TEST_P(RetiredSsl, AnSslInDoubtDoesNothingWhileItsSocketIsFrozen) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.peer.get());
  read_all(pair.mover.get());
  const auto mark = [&](std::uint32_t value) {
    return ::setsockopt(pair.mover_fd.get(), SOL_SOCKET, SO_MARK, &value, sizeof value) == 0;
  };
  if (!mark(kFreezeMark)) GTEST_SKIP() << "wants CAP_NET_ADMIN";
  SSL* ssl = pair.mover.get();
  doubt(ssl);
  ASSERT_EQ(SSL_write(pair.peer.get(), "x", 1), 1);
  const auto expect_frozen = [&](int outcome) {
    EXPECT_EQ(outcome, -1);
    EXPECT_EQ(SSL_get_error(ssl, outcome), SSL_ERROR_SYSCALL);
    EXPECT_EQ(errno, EPERM);
  };
  char byte;
  expect_frozen(SSL_read(ssl, &byte, 1));
  EXPECT_EQ(::recv(pair.mover_fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), 1)
      << "something was read";
  expect_frozen(SSL_write(ssl, "y", 1));
  EXPECT_EQ(::recv(pair.peer_fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1)
      << "something was written";
  ASSERT_TRUE(mark(0));
  EXPECT_EQ(read_all(ssl), "x");
  EXPECT_EQ(SSL_write(ssl, "y", 1), 1);
  EXPECT_EQ(read_all(pair.peer.get()), "y");
}

}  // namespace
}  // namespace sockmi::tls::test
