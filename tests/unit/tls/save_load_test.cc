#include "cases.h"
#include "pair.h"

#include "tls/provider/secret_registry.h"

namespace sockmi::tls::test {
namespace {

class SaveLoad : public testing::TestWithParam<Case> {};

TEST_P(SaveLoad, DataFlowsBothWaysOverThreeHops) {
  Pair pair(GetParam());
  pair.handshake();
  pair.talk("before");
  for (int hop = 0; hop < 3; ++hop) {
    pair.hop();
    pair.talk("after hop");
    pair.talk(pattern(100'000));
  }
}

TEST_P(SaveLoad, ExportedKeyingMaterialAgreesWithThePeer) {
  Pair pair(GetParam());
  pair.handshake();
  for (int hop = 0; hop < 2; ++hop) {
    pair.hop();
    unsigned char ours[32], theirs[32];
    ASSERT_EQ(
        SSL_export_keying_material(pair.mover.get(), ours, 32, "EXPORTER-x", 10, nullptr, 0, 0), 1);
    ASSERT_EQ(
        SSL_export_keying_material(pair.peer.get(), theirs, 32, "EXPORTER-x", 10, nullptr, 0, 0),
        1);
    EXPECT_EQ(memcmp(ours, theirs, 32), 0);
  }
}

TEST_P(SaveLoad, GettersReturnSuiteVersionAndAlpn) {
  Pair pair(GetParam());
  pair.handshake();
  pair.hop();
  EXPECT_STREQ(SSL_get_cipher_name(pair.mover.get()), GetParam().suite);
  EXPECT_EQ(SSL_version(pair.mover.get()), GetParam().version);
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(pair.mover.get(), &alpn, &size);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(alpn), size), "h2");
  EXPECT_EQ(SSL_get_fd(pair.mover.get()), pair.mover_fd.get());
}

TEST_P(SaveLoad, PartlyReadPlaintextIsReadAfterTheMove) {
  Pair pair(GetParam());
  pair.handshake();
  const std::string text = pattern(5000);
  ASSERT_EQ(SSL_write(pair.peer.get(), text.data(), 5000), 5000);
  ASSERT_EQ(SSL_write(pair.peer.get(), "next record", 11), 11);
  std::string got(5000, 0);
  ASSERT_EQ(SSL_read(pair.mover.get(), got.data(), 1234), 1234);
  pair.hop();
  ASSERT_EQ(SSL_pending(pair.mover.get()), 5000 - 1234);
  ASSERT_EQ(SSL_read(pair.mover.get(), got.data() + 1234, 5000), 5000 - 1234);
  EXPECT_EQ(got, text);
  char more[32];
  EXPECT_EQ(SSL_read(pair.mover.get(), more, sizeof more), 11);
  pair.talk("on");
}

TEST_P(SaveLoad, ARecordCutAtAnyByteArrivesWhole) {
  Pair pair(GetParam());
  pair.handshake();
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
  unique_fd tap(fds[0]), wire(fds[1]);
  BIO* bio = BIO_new_socket(tap.get(), BIO_NOCLOSE);
  SSL_set0_wbio(pair.peer.get(), bio);
  std::uint8_t record[200];
  ssize_t size = 100;
  for (ssize_t cut = 0; cut <= size; ++cut) {
    ASSERT_EQ(SSL_write(pair.peer.get(), "a record to be cut", 18), 18);
    size = ::recv(wire.get(), record, sizeof record, 0);
    ASSERT_GT(size, 18);
    ASSERT_EQ(::send(pair.peer_fd.get(), record, static_cast<std::size_t>(cut), 0), cut);
    char text[32];
    if (cut < size) {
      ASSERT_EQ(SSL_read(pair.mover.get(), text, sizeof text), -1);
    }
    pair.hop();
    ASSERT_EQ(::send(pair.peer_fd.get(), record + cut, static_cast<std::size_t>(size - cut), 0),
              size - cut);
    ASSERT_EQ(SSL_read(pair.mover.get(), text, sizeof text), 18) << "cut at " << cut;
  }
}

TEST_P(SaveLoad, ABadImageLeavesTheSslUsable) {
  Pair pair(GetParam());
  pair.handshake();
  const Secret image = *save(pair.mover.get());
  Pair other(GetParam());
  const Kind kind{GetParam().server, true};
  for (std::size_t size = 0; size < image.size(); size += 7)
    EXPECT_EQ(load(ByteView(image).first(size), other.mover.get(), kind).error().code, EBADMSG);
  for (std::size_t bit = 0; bit < image.size() * 8; bit += 5) {
    Secret flipped = image;
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_EQ(load(flipped, other.mover.get(), kind).error().code, EBADMSG);
  }
  EXPECT_EQ(load(Secret(image.size(), 0x5a), other.mover.get(), kind).error().code, EBADMSG);
  other.handshake();
  other.talk("as if nothing had been");
}

TEST_P(SaveLoad, FreedSslsLeaveNothingInTheRegistry) {
  const auto before = Registry::get().entries();
  for (int i = 0; i < 3; ++i) {
    Pair pair(GetParam());
    pair.handshake();
    pair.hop();
    pair.talk("x");
    EXPECT_GT(Registry::get().entries(), before);
  }
  EXPECT_EQ(Registry::get().entries(), before);
}

TEST_P(SaveLoad, SaveRefusesAnSslWithoutTheProvider) {
  Pair pair(GetParam(), /*provider=*/false);
  pair.handshake();
  EXPECT_EQ(save(pair.mover.get()).error().code, ENOKEY);
  pair.talk("unharmed");
}

INSTANTIATE_TEST_SUITE_P(Suites, SaveLoad, testing::ValuesIn(kCases), kName);

}  // namespace
}  // namespace sockmi::tls::test
