// Whatever lies between the application, libssl and the socket at the moment of a move goes along, byte for byte.
#include <thread>

#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

class Buffers : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Families, Buffers, testing::ValuesIn(kFamilies), kName);

TEST_P(Buffers, SeveralRecordsAndTheBeginningOfAnother) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  Tap tap(pair.peer.get());
  std::string wire, text;
  for (int i = 0; i < 6; ++i) {
    text += pattern(700 + 100 * i);
    wire += tap.record(pair.peer.get(), pattern(700 + 100 * i));
  }
  put(pair.peer_fd, std::string_view(wire).substr(0, wire.size() - 9));
  std::string got(10, 0);
  ASSERT_EQ(SSL_read(pair.mover.get(), got.data(), 10), 10);
  pair.hop();
  got += read_all(pair.mover.get());
  pair.hop();
  put(pair.peer_fd, std::string_view(wire).substr(wire.size() - 9));
  got += read_all(pair.mover.get());
  EXPECT_TRUE(got == text) << got.size();
}

TEST_P(Buffers, PlaintextThatWasPeekedIsThereStill) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  ASSERT_EQ(SSL_write(pair.peer.get(), "peeked", 6), 6);
  char bytes[10];
  ASSERT_EQ(SSL_peek(pair.mover.get(), bytes, 3), 3);
  for (int hop = 0; hop < 3; ++hop) {
    pair.hop();
    EXPECT_EQ(SSL_pending(pair.mover.get()), 6);
  }
  EXPECT_EQ(read_all(pair.mover.get()), "peeked");
  pair.talk("on");
}

TEST_P(Buffers, AFullRecordUnread) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  const std::string text = pattern(16384);
  ASSERT_EQ(SSL_write(pair.peer.get(), text.data(), 16384), 16384);
  char byte;
  ASSERT_EQ(SSL_read(pair.mover.get(), &byte, 1), 1);
  pair.hop();
  EXPECT_TRUE(read_all(pair.mover.get()) == text.substr(1));
  pair.talk("on");
}

TEST_P(Buffers, ReadAheadIsNoMatter) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  SSL_set_read_ahead(pair.mover.get(), 1);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(SSL_write(pair.peer.get(), "abc", 3), 3);
  char bytes[2];
  ASSERT_EQ(SSL_read(pair.mover.get(), bytes, 2), 2);
  pair.hop();
  EXPECT_EQ(read_all(pair.mover.get()), "cabcabc");
}

// --- writing ---

TEST_P(Buffers, AnInterruptedWriteGoesOnBehindWhatWasTaken) {
  Pair pair(GetParam());
  pair.handshake();
  const std::string text = pattern(1 << 20);
  std::string got;
  std::size_t at = 0;
  for (int hops = 0; got.size() < text.size();) {
    ASSERT_LT(hops, 10'000);
    if (at < text.size()) {
      const int n = SSL_write(pair.mover.get(), text.data() + at, static_cast<int>(text.size() - at));
      if (n > 0) {
        at += static_cast<std::size_t>(n);
        continue;
      }
      ASSERT_EQ(SSL_get_error(pair.mover.get(), n), SSL_ERROR_WANT_WRITE);
      if (hops++ < 20) {
        pair.hop();
        at += write_taken(pair.mover.get());
      }
    } else {
      char none;
      (void)SSL_read(pair.mover.get(), &none, 1);  // gives the BIO a chance to send on
    }
    got += read_all(pair.peer.get());
  }
  EXPECT_TRUE(got == text);
  pair.talk("on");
}

TEST_P(Buffers, WithoutPartialWritesAnInterruptedOneIsFinishedFirst) {
  Pair pair(GetParam());
  SSL_clear_mode(pair.mover.get(), SSL_MODE_ENABLE_PARTIAL_WRITE);
  pair.handshake();
  read_all(pair.mover.get());
  const std::string text = pattern(1 << 20);
  const int size = 1 << 20;
  int n = SSL_write(pair.mover.get(), text.data(), size);
  ASSERT_EQ(SSL_get_error(pair.mover.get(), n), SSL_ERROR_WANT_WRITE);
  EXPECT_EQ(save(pair.mover.get()).error().code, EAGAIN);
  std::string got;
  while ((n = SSL_write(pair.mover.get(), text.data(), size)) <= 0) got += read_all(pair.peer.get());
  ASSERT_EQ(n, size);
  pair.hop();
  while (got.size() < text.size()) {
    char none;
    (void)SSL_read(pair.mover.get(), &none, 1);
    got += read_all(pair.peer.get());
  }
  EXPECT_TRUE(got == text);
}

// --- on a plain socket BIO ---

// One that never heard of sockmi_set_fd().
void use_plain_bio(Pair& pair) { SSL_set_fd(pair.mover.get(), pair.mover_fd.get()); }

TEST_P(Buffers, OnAPlainBioItMovesBetweenRecords) {
  Pair pair(GetParam());
  use_plain_bio(pair);
  pair.handshake();
  pair.talk("before");
  pair.hop();
  use_plain_bio(pair);
  pair.talk("between");
  ASSERT_EQ(SSL_write(pair.peer.get(), "unread", 6), 6);
  char bytes[2];
  ASSERT_EQ(SSL_read(pair.mover.get(), bytes, 2), 2);
  pair.hop();
  EXPECT_EQ(read_all(pair.mover.get()), "read");
  pair.talk("after");
}

TEST_P(Buffers, OnAPlainBioHalfARecordIsRefusedUnharmed) {
  Pair pair(GetParam());
  use_plain_bio(pair);
  pair.handshake();
  read_all(pair.mover.get());
  Tap tap(pair.peer.get());
  for (std::size_t cut = 1;; ++cut) {
    const std::string record = tap.record(pair.peer.get(), "text");
    if (cut == record.size()) break;
    put(pair.peer_fd, record.substr(0, cut));
    ASSERT_EQ(read_all(pair.mover.get()), "");
    EXPECT_EQ(save(pair.mover.get()).error().code, EAGAIN) << "cut at " << cut;
    EXPECT_EQ(quiesce(pair.mover.get(), std::chrono::milliseconds(1)).error().code, EAGAIN) << "cut at " << cut;
    put(pair.peer_fd, record.substr(cut));
    ASSERT_EQ(read_all(pair.mover.get()), "text") << "cut at " << cut;
  }
}

TEST_P(Buffers, OnAPlainBioTheRestOfTheRecordIsWaitedFor) {
  Pair pair(GetParam());
  use_plain_bio(pair);
  pair.handshake();
  read_all(pair.mover.get());
  Tap tap(pair.peer.get());
  const std::string record = tap.record(pair.peer.get(), "text");
  put(pair.peer_fd, record.substr(0, 5));
  ASSERT_EQ(read_all(pair.mover.get()), "");
  std::thread sender([&] { put(pair.peer_fd, record.substr(5)); });
  EXPECT_TRUE(quiesce(pair.mover.get(), std::chrono::seconds(10)));
  sender.join();
  pair.hop();
  EXPECT_EQ(read_all(pair.mover.get()), "text");
}

TEST_P(Buffers, ABlockingDescriptorIsNotWaitedForLongerThanAsked) {
  Pair pair(GetParam());
  use_plain_bio(pair);
  pair.handshake();
  read_all(pair.mover.get());
  Tap tap(pair.peer.get());
  put(pair.peer_fd, tap.record(pair.peer.get(), "text").substr(0, 7));
  ASSERT_EQ(read_all(pair.mover.get()), "");
  const int flags = ::fcntl(pair.mover_fd.get(), F_GETFL);
  ::fcntl(pair.mover_fd.get(), F_SETFL, flags & ~O_NONBLOCK);
  EXPECT_EQ(quiesce(pair.mover.get(), std::chrono::milliseconds(1)).error().code, EAGAIN);
  EXPECT_EQ(::fcntl(pair.mover_fd.get(), F_GETFL), flags & ~O_NONBLOCK);
}

}  // namespace
}  // namespace sockmi::tls::test
