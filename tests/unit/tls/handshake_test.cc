// An SSL moves before its handshake and during it; an established SSL is never loaded as
// one before its handshake.
#include <thread>

#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

TEST(SslBeforeHandshake, APartialClientHelloMoves) {
  for (const Case& c : {case_of("Tls13Aes128Server"), case_of("Tls12Aes128Server")}) {
    for (const std::size_t cut : {0, 1, 4, 5, 6, 50, 100}) {
      Pair pair(c);
      {
        Tap tap(pair.peer.get());
        SSL_do_handshake(pair.peer.get());
        const std::string hello = tap.take();
        ASSERT_GT(hello.size(), 100u);
        put(pair.peer_fd, hello.substr(0, cut));
        SSL_do_handshake(pair.mover.get());
        EXPECT_EQ(phase(pair.mover.get()), Phase::BeforeHandshake);
        pair.hop();
        put(pair.peer_fd, hello.substr(cut));
      }
      SSL_set0_wbio(pair.peer.get(), BIO_new_socket(pair.peer_fd.get(), BIO_NOCLOSE));
      pair.handshake();
      pair.talk("hello");
    }
  }
}

TEST(SslBeforeHandshake, AnUnreadClientHelloStaysInTheSocket) {
  Pair pair(case_of("Tls13Aes128Server"));
  SSL_do_handshake(pair.peer.get());
  pair.hop();
  pair.handshake();
  pair.talk("hello");
}

TEST(SslBeforeHandshake, AClientMoves) {
  Pair pair(case_of("Tls13Aes128Client"));
  pair.hop();
  SSL_set_alpn_protos(pair.mover.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  pair.handshake();
  pair.talk("hello");
}

class SslInHandshake : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Roles, SslInHandshake,
                         testing::Values(case_of("Tls13Aes128Server"), case_of("Tls13Aes128Client"),
                                         case_of("Tls12Aes128Server"),
                                         case_of("Tls12Aes128Client")),
                         kName);

TEST_P(SslInHandshake, AStalledHandshakeIsRefusedUnharmed) {
  Pair pair(GetParam());
  if (GetParam().server) SSL_do_handshake(pair.peer.get());
  SSL_do_handshake(pair.mover.get());
  EXPECT_EQ(save(pair.mover.get()).error().code, EAGAIN);
  EXPECT_EQ(quiesce(pair.mover.get(), std::chrono::milliseconds(1)).error().code, EAGAIN);
  ERR_clear_error();
  pair.handshake();
  pair.talk("unharmed");
}

TEST_P(SslInHandshake, QuiesceFinishesTheHandshakeFirst) {
  Pair pair(GetParam());
  if (GetParam().server) SSL_do_handshake(pair.peer.get());
  SSL_do_handshake(pair.mover.get());
  ASSERT_EQ(phase(pair.mover.get()), Phase::InHandshake);
  std::thread peer([&] {
    ::fcntl(pair.peer_fd.get(), F_SETFL, 0);
    SSL_do_handshake(pair.peer.get());
    ::fcntl(pair.peer_fd.get(), F_SETFL, O_NONBLOCK);
  });
  EXPECT_TRUE(quiesce(pair.mover.get(), std::chrono::seconds(10)));
  peer.join();
  pair.hop();
  pair.talk("moved");
}

TEST_P(SslInHandshake, AHandshakeFailureIsReported) {
  Pair pair(GetParam());
  if (GetParam().server) SSL_do_handshake(pair.peer.get());
  SSL_do_handshake(pair.mover.get());
  put(pair.peer_fd,
      std::string_view("\x15\x03\x03\x00\x02\x02\x28", 7));  // alert: handshake_failure
  EXPECT_EQ(quiesce(pair.mover.get(), std::chrono::seconds(10)).error().code, EPROTO);
  ERR_clear_error();
}

}  // namespace
}  // namespace sockmi::tls::test
