// Threads write and read without a pause while their socket moves, or fails to move.
#include <array>
#include <atomic>
#include <optional>
#include <thread>

#include "connection.h"

namespace sockmi::tcp {
namespace {

class SharedSocketStreamTest : public ConnectionTest {
 protected:
  void SetUp() override {
    ConnectionTest::SetUp();
    pair_.listener.reset();
  }
};

INSTANTIATE_TEST_SUITE_P(Families, SharedSocketStreamTest, testing::ValuesIn(kFamilies));

// One thread writes as fast as it can, one reads, and the peer does both. All bytes that
// send(2) accepted, and no other byte, reach the other end, whether the socket moves or
// is rolled back.

void stream(Connection& pair, std::size_t piece, bool blocking, int moves) {
  std::atomic<bool> stop = false, wrong = false;
  std::size_t ours = 0, theirs = 0;  // bytes written
  std::atomic<std::size_t> arrived = 0, read = 0;
  const auto write = [&](int fd, std::size_t& written, int flags) {
    std::string text(piece, 0);
    for (std::size_t i = 0; i < piece; ++i)
      text[i] = byte_at(written + i);
    const ssize_t sent = ::send(fd, text.data(), piece, MSG_NOSIGNAL | flags);
    if (sent > 0) written += static_cast<std::size_t>(sent);
    return sent >= 0 || errno == EAGAIN || errno == EINVAL;
  };
  const auto look = [&](int fd, std::atomic<std::size_t>& heard) {
    std::array<char, 65536> room;
    const ssize_t got = ::recv(fd, room.data(), room.size(), MSG_DONTWAIT);
    for (ssize_t i = 0; i < got; ++i, ++heard)
      if (room[static_cast<std::size_t>(i)] != byte_at(heard)) wrong = true;
    return got;
  };
  struct Peer {
    std::atomic<bool>& stop;
    std::thread thread;
    ~Peer() {
      stop = true;
      thread.join();
    }
  };
  std::optional<Peer> peer(std::in_place, stop, std::thread([&] {
                             while (!stop) {
                               if (look(pair.peer.get(), arrived) <= 0) std::this_thread::yield();
                               write(pair.peer.get(), theirs, MSG_DONTWAIT);
                             }
                           }));
  History history;
  for (int i = 0; i < moves && !wrong; ++i) {
    const int fd = pair.mover.get();
    std::atomic<bool> gone = false;
    std::atomic<std::size_t> before = ours;
    struct Others {
      std::atomic<bool>& gone;
      std::thread writer, reader;
      ~Others() {
        gone = true;
        writer.join();
        reader.join();
      }
    };
    std::optional<Others> others(std::in_place, gone, std::thread([&] {
                                   while (!gone && write(fd, ours, blocking ? 0 : MSG_DONTWAIT))
                                     before = ours;
                                 }),
                                 std::thread([&] {
                                   while (!gone)
                                     look(fd, read);
                                 }));
    const auto began = before.load();
    ASSERT_TRUE(eventually([&] { return before > began; }));
    history.in_use = i % 8 >= 2;
    auto frozen = FrozenSocket::freeze(fd, OriginalOptions::of(fd).value_or(OriginalOptions()),
                                       kMarks, {}, history);
    ASSERT_TRUE(frozen) << to_string(frozen.error());
    auto image = frozen->capture();
    ASSERT_TRUE(image) << to_string(image.error());
    history = i % 4 == 3 ? frozen->history() : History();
    if (i % 2) std::this_thread::yield();
    if (i % 4 == 3) {  // this export fails
      EXPECT_TRUE(frozen->received_since(*image));
      ASSERT_TRUE(frozen->unfreeze());
      continue;
    }
    auto delta = frozen->hold(*image);
    ASSERT_TRUE(delta) << to_string(delta.error());
    image->rcv_seq += static_cast<std::uint32_t>(delta->bytes.size());
    const auto rest = frozen->seal(*image);
    ASSERT_TRUE(rest) << to_string(rest.error());
    image->rcv_seq -= static_cast<std::uint32_t>(delta->bytes.size());
    delta->written.insert(delta->written.end(), rest->written.begin(), rest->written.end());
    ASSERT_TRUE(frozen->destroy_silently());
    others.reset();
    pair.mover.reset();
    auto restored = RestoredSocket::restore(*image, kMarks, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    const auto received = restored->receive(*delta);
    ASSERT_TRUE(received) << to_string(received.error());
    pair.mover = thawed(std::move(restored));
  }
  EXPECT_TRUE(eventually([&] { return wrong || arrived == ours; }))
      << "of " << ours << " bytes, " << arrived << " came";
  peer.reset();
  EXPECT_TRUE(eventually([&] {
    look(pair.mover.get(), read);
    return wrong || read == theirs;
  })) << "of "
      << theirs << " bytes of the peer's, " << read << " came";
  EXPECT_FALSE(wrong);
}

TEST_P(SharedSocketStreamTest, TinyWritesDuringMovesArrive) {
  stream(pair_, 4, false, 60);
}
TEST_P(SharedSocketStreamTest, LargeWritesDuringMovesArrive) {
  stream(pair_, 100'000, false, 16);
}
TEST_P(SharedSocketStreamTest, BlockingWritesDuringMovesArrive) {
  stream(pair_, 300'000, true, 8);
}

}  // namespace
}  // namespace sockmi::tcp
