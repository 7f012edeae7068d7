// All bytes between the application, libssl and the socket at the moment of a move go
// along.
#include <thread>

#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

class Buffers : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Families, Buffers, testing::ValuesIn(kFamilies), kName);

TEST_P(Buffers, SeveralRecordsAndPartOfAnotherMove) {
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

TEST_P(Buffers, PeekedPlaintextMoves) {
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

TEST_P(Buffers, AnUnreadFullRecordMoves) {
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

TEST_P(Buffers, BytesReadAheadMove) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  SSL_set_read_ahead(pair.mover.get(), 1);
  for (int i = 0; i < 3; ++i)
    ASSERT_EQ(SSL_write(pair.peer.get(), "abc", 3), 3);
  char bytes[2];
  ASSERT_EQ(SSL_read(pair.mover.get(), bytes, 2), 2);
  pair.hop();
  EXPECT_EQ(read_all(pair.mover.get()), "cabcabc");
}

TEST_P(Buffers, BufferedBytesMoveBeforeABioIsSet) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  for (int i = 0; i < 3; ++i)
    ASSERT_EQ(SSL_write(pair.peer.get(), "abc", 3), 3);
  char byte;
  ASSERT_EQ(SSL_read(pair.mover.get(), &byte, 1), 1);
  auto image = save(pair.mover.get());
  retire(pair.mover.get());
  for (int i = 0; i < 2; ++i) {
    pair.mover = pair.fresh();
    ASSERT_TRUE(load(*image, pair.mover.get(), {GetParam().server, true}));
    image = save(pair.mover.get());
    ASSERT_TRUE(image) << to_string(image.error());
  }
  ASSERT_TRUE(set_fd(pair.mover.get(), pair.mover_fd.get()));
  EXPECT_EQ(read_all(pair.mover.get()), "bcabcabc");
}

// --- writing ---

// Writes `text` in calls of `piece` bytes, or all that is left. Moves at the first
// interruptions, and continues after what was taken. The peer reads a little at a time,
// so that a retry may finish one record and be interrupted in the next.
void write_with_moves(Pair& pair, const std::string& text, std::size_t piece) {
  std::string got;
  std::size_t at = 0;
  int moves = 0, interruptions = 0;
  const auto read_a_little = [&] {
    char bytes[1000];
    if (const int n = SSL_read(pair.peer.get(), bytes, sizeof bytes); n > 0)
      got.append(bytes, static_cast<std::size_t>(n));
    ERR_clear_error();
  };
  while (at < text.size()) {
    const int n = SSL_write(pair.mover.get(), text.data() + at,
                            static_cast<int>(std::min(piece, text.size() - at)));
    if (n > 0) {
      at += static_cast<std::size_t>(n);
      continue;
    }
    ASSERT_EQ(SSL_get_error(pair.mover.get(), n), SSL_ERROR_WANT_WRITE);
    if (++interruptions % 3 == 0 && moves < 30) {
      ++moves;
      pair.hop();
      at += write_taken(pair.mover.get());
    }
    for (int i = 0; i < 5; ++i)
      read_a_little();
  }
  EXPECT_GE(moves, 5);
  while (got.size() < text.size()) {
    char none;
    const int n = SSL_read(pair.mover.get(), &none, 1);  // sends what the other SSL had left unsent
    ASSERT_TRUE(SSL_get_error(pair.mover.get(), n) == SSL_ERROR_WANT_READ ||
                SSL_get_error(pair.mover.get(), n) == SSL_ERROR_WANT_WRITE);
    const std::size_t before = got.size();
    got += read_all(pair.peer.get());
    ASSERT_GT(got.size(), before) << "nothing comes any more";
  }
  EXPECT_TRUE(got == text) << got.size();
}

void use_small_buffers(Pair& pair) {
  const int size = 20'000;
  ::setsockopt(pair.mover_fd.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

TEST_P(Buffers, AnInterruptedWriteContinuesAfterTheBytesTaken) {
  for (const std::size_t piece :
       {std::size_t{1} << 20, std::size_t{16384}, std::size_t{16383}, std::size_t{40'000}}) {
    Pair pair(GetParam());
    use_small_buffers(pair);
    pair.handshake();
    write_with_moves(pair, pattern(1 << 20), piece);
    pair.talk("on");
  }
}

TEST_P(Buffers, ReadsReportWantWriteWhileBytesAreUnsent) {
  Pair pair(GetParam());
  use_small_buffers(pair);
  pair.handshake();
  read_all(pair.mover.get());
  const std::string text = pattern(16'000);
  std::string sent;
  int n = 0;
  while ((n = SSL_write(pair.mover.get(), text.data(), 16'000)) > 0)
    sent += text;
  pair.hop();
  ASSERT_EQ(write_taken(pair.mover.get()), 16'000u);
  sent += text;
  char byte;
  n = SSL_read(pair.mover.get(), &byte, 1);
  EXPECT_EQ(SSL_get_error(pair.mover.get(), n), SSL_ERROR_WANT_WRITE);
  std::string got;
  while (SSL_get_error(pair.mover.get(), n) == SSL_ERROR_WANT_WRITE) {
    got += read_all(pair.peer.get());
    n = SSL_read(pair.mover.get(), &byte, 1);
  }
  EXPECT_EQ(SSL_get_error(pair.mover.get(), n), SSL_ERROR_WANT_READ);
  got += read_all(pair.peer.get());
  EXPECT_TRUE(got == sent);
}

TEST_P(Buffers, WithoutPartialWritesAnInterruptedWriteMustFinishFirst) {
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
  while ((n = SSL_write(pair.mover.get(), text.data(), size)) <= 0)
    got += read_all(pair.peer.get());
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

// Gives the SSL a plain BIO, as without sockmi_set_fd().
void use_plain_bio(Pair& pair) {
  SSL_set_fd(pair.mover.get(), pair.mover_fd.get());
}

TEST_P(Buffers, OnASocketBioAnSslMovesBetweenRecords) {
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

TEST_P(Buffers, OnASocketBioAPartialRecordIsRefused) {
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
    EXPECT_EQ(quiesce(pair.mover.get(), std::chrono::milliseconds(1)).error().code, EAGAIN)
        << "cut at " << cut;
    put(pair.peer_fd, record.substr(cut));
    ASSERT_EQ(read_all(pair.mover.get()), "text") << "cut at " << cut;
  }
}

TEST_P(Buffers, OnASocketBioQuiesceWaitsForTheRestOfARecord) {
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

TEST_P(Buffers, QuiesceReturnsInTimeOnABlockingDescriptor) {
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
