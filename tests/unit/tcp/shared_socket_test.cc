// Other users of the socket use it while it moves: threads, and processes with a
// duplicate of the descriptor.
#include <fcntl.h>

#include <thread>

#include "connection.h"
#include "tcp/late_writes.h"

namespace sockmi::tcp {
namespace {

class SharedSocketTest : public ConnectionTest {
 protected:
  void SetUp() override {
    ConnectionTest::SetUp();
    pair_.listener.reset();
  }

  FrozenSocket freeze(const History& history = {}) {
    const auto owner = OriginalOptions::of(mover_.get());
    auto frozen =
        FrozenSocket::freeze(mover_.get(), owner.value_or(OriginalOptions()), kMarks, {}, history);
    EXPECT_TRUE(frozen) << to_string(frozen.error());
    return std::move(*frozen);
  }
  wire::TcpT capture(FrozenSocket& frozen) {
    auto image = frozen.capture();
    EXPECT_TRUE(image) << to_string(image.error());
    return std::move(*image);
  }
  void arrive(const wire::TcpT& image, const FreezeDelta& delta) {
    mover_.reset();
    auto restored = RestoredSocket::restore(image, kMarks, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    const auto received = restored->receive(delta);
    ASSERT_TRUE(received) << to_string(received.error());
    mover_ = thawed(std::move(restored));
  }
};

INSTANTIATE_TEST_SUITE_P(Families, SharedSocketTest, testing::ValuesIn(kFamilies));

TEST_P(SharedSocketTest, BytesWrittenInTheFreezeArrive) {
  auto frozen = freeze();
  const auto image = capture(frozen);
  send_text(mover_.get(), "written ");
  send_text(mover_.get(), "late");
  const auto delta = frozen.hold(image);
  ASSERT_TRUE(delta) << to_string(delta.error());
  EXPECT_EQ(std::string(delta->written.begin(), delta->written.end()), "written late");
  EXPECT_EQ(::send(mover_.get(), "x", 1, MSG_NOSIGNAL), -1) << "nothing may come behind that";
  ASSERT_TRUE(frozen.seal(image));
  ASSERT_TRUE(frozen.destroy_silently());
  arrive(image, *delta);
  send_text(mover_.get(), "!");
  EXPECT_EQ(read_text(peer_.get(), 13), "written late!");
}

TEST_P(SharedSocketTest, BytesWrittenInTheFreezeAreSentAfterARollback) {
  auto frozen = freeze();
  const auto image = capture(frozen);
  send_text(mover_.get(), "written");
  ASSERT_TRUE(frozen.received_since(image));
  send_text(mover_.get(), " late");
  ASSERT_TRUE(frozen.unfreeze());
  EXPECT_EQ(read_text(peer_.get(), 12), "written late");
}

TEST_P(SharedSocketTest, ReadAndWriteWorkInTheFreeze) {
  send_text(peer_.get(), "x");
  auto frozen = freeze();
  const auto image = capture(frozen);
  ASSERT_TRUE(frozen.received_since(image));
  send_text(mover_.get(), "x");
  EXPECT_EQ(read_text(mover_.get(), 1), "x");
}

TEST_P(SharedSocketTest, BytesReadInTheFreezeAreNotReadAgain) {
  send_text(peer_.get(), "early ");
  ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == 6; }));
  for (const std::size_t count : {3u, 6u, 8u, 11u}) {
    SCOPED_TRACE(count);
    auto frozen = freeze();
    const auto image = capture(frozen);
    send_text(peer_.get(), "late ");
    ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == 11; }));
    EXPECT_EQ(read_text(mover_.get(), count), std::string("early late ").substr(0, count));
    const auto delta = frozen.hold(image);
    ASSERT_TRUE(delta) << to_string(delta.error());
    EXPECT_EQ(delta->read, count);
    ASSERT_TRUE(frozen.destroy_silently());
    arrive(image, *delta);
    send_text(peer_.get(), "!");
    EXPECT_EQ(read_text(mover_.get(), 12 - count), std::string("early late !").substr(count));
    send_text(peer_.get(), "early ");
    ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == 6; }));
  }
}

TEST_P(SharedSocketTest, AShutdownInTheFreezeMoves) {
  auto frozen = freeze();
  const auto image = capture(frozen);
  send_text(mover_.get(), "bye");
  ::shutdown(mover_.get(), SHUT_WR);
  const auto delta = frozen.hold(image);
  ASSERT_TRUE(delta) << to_string(delta.error());
  EXPECT_TRUE(delta->finished);
  ASSERT_TRUE(frozen.destroy_silently());
  arrive(image, *delta);
  EXPECT_EQ(read_to_end(peer_.get()), "bye");
  send_text(peer_.get(), "x");
  EXPECT_EQ(read_text(mover_.get(), 1), "x");
}

TEST_P(SharedSocketTest, SealWakesBlockedWriters) {
  fill_up(mover_.get());
  std::thread writer([fd = mover_.get()] {
    EXPECT_LT(::send(fd, std::string(1 << 20, 'x').data(), 1 << 20, MSG_NOSIGNAL), 1 << 20);
  });
  auto frozen = freeze();
  const auto image = capture(frozen);
  ASSERT_TRUE(frozen.hold(image));
  ASSERT_TRUE(frozen.seal(image));
  writer.join();
  ASSERT_TRUE(frozen.destroy_silently());
}

TEST_P(SharedSocketTest, BytesOfASleepingWriterAfterHoldArrive) {
  std::string text(1 << 20, 0);
  for (std::size_t i = 0; i < text.size(); ++i)
    text[i] = byte_at(i);
  ASSERT_TRUE(set(mover_.get(), SOL_SOCKET, SO_SNDBUF, 16 << 10, "SO_SNDBUF"));
  ssize_t sent = 0;
  std::thread sleeper(
      [&, fd = mover_.get()] { sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL); });
  ASSERT_TRUE(eventually([&] { return (poll_now(mover_.get(), POLLOUT) & POLLOUT) == 0; }));
  auto frozen = freeze();
  const auto image = capture(frozen);
  const auto delta = frozen.hold(image);
  ASSERT_TRUE(delta) << to_string(delta.error());
  EXPECT_TRUE(delta->more);
  const std::size_t before = queued(mover_.get(), SIOCOUTQ);
  ASSERT_TRUE(set(mover_.get(), SOL_SOCKET, SO_SNDBUF, 100 << 10,
                  "SO_SNDBUF"));  // which wakes a writer that waits for room
  EXPECT_TRUE(eventually([&] { return queued(mover_.get(), SIOCOUTQ) > before; }));
  const auto rest = frozen.seal(image);
  ASSERT_TRUE(rest) << to_string(rest.error());
  sleeper.join();
  EXPECT_FALSE(rest->written.empty());
  ASSERT_TRUE(frozen.destroy_silently());
  arrive(image, *delta);
  ASSERT_TRUE(apply_late_writes(mover_.get(), *rest));
  ASSERT_GT(sent, 0);
  EXPECT_TRUE(read_text(peer_.get(), static_cast<std::size_t>(sent)) ==
              text.substr(0, static_cast<std::size_t>(sent)));
}

// Returns whether the socket has stayed outside repair mode: entering it would have
// deselected the queue.
bool has_been_outside(int fd) {
  return get<std::uint32_t>(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ").has_value();
}

TEST_P(SharedSocketTest, RepeatedFailedExportsNeedNoRepairMode) {
  History history{.in_use = true};
  for (const char* text : {"one", "two", "three"}) {
    SCOPED_TRACE(text);
    auto frozen = freeze(history);
    const auto before = std::exchange(history, frozen.history()).sequences;
    ASSERT_TRUE(history.sequences);
    EXPECT_EQ(history.sequences->written, before.value_or(*history.sequences).written);
    send_text(mover_.get(), text);
    ASSERT_TRUE(frozen.capture());
    EXPECT_TRUE(has_been_outside(mover_.get()));
    ASSERT_TRUE(frozen.unfreeze());
    EXPECT_TRUE(has_been_outside(mover_.get()));
    EXPECT_EQ(read_text(peer_.get(), std::strlen(text)), text);
    send_text(peer_.get(), text);
    EXPECT_EQ(read_text(mover_.get(), std::strlen(text)), text);
  }
}

// The kernel announces the smaller window late, and outside repair mode it does not
// report how late.
TEST_P(SharedSocketTest, CaptureReportsAShrinkingWindowNoLargerThanItIs) {
  constexpr std::size_t kPiece = 1000, kPieces = 36;
  ASSERT_TRUE(set(mover_.get(), SOL_SOCKET, SO_RCVBUF, 128 << 10, "SO_RCVBUF"));
  ASSERT_TRUE(set(peer_.get(), IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"));
  History history{.in_use = true};
  std::size_t waiting = 0;
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    auto frozen = freeze(history);
    for (std::size_t i = 0; i < kPieces; ++i)
      send_text(peer_.get(), std::string(kPiece, 'x'));
    waiting += kPieces * kPiece;
    ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == waiting; }));
    const auto image = capture(frozen);
    history = frozen.history();
    ASSERT_TRUE(history.sequences);
    ASSERT_TRUE(set_repair(mover_.get(), TCP_REPAIR_ON));
    const auto real =
        get<tcp_repair_window>(mover_.get(), IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW");
    ASSERT_TRUE(set_repair(mover_.get(), TCP_REPAIR_OFF_NO_WP));
    ASSERT_TRUE(real);
    const auto beyond = static_cast<std::int32_t>(
        image.window->rcv_wup() + image.window->rcv_wnd() - real->rcv_wup - real->rcv_wnd);
    EXPECT_LE(beyond, static_cast<std::int32_t>(kPiece));
    ASSERT_TRUE(frozen.unfreeze());
  }
}

TEST_P(SharedSocketTest, SequencesOfAnEarlierConnectionDoNotMatch) {
  History history;
  {
    const auto frozen = freeze();
    history = frozen.history();
  }
  ASSERT_TRUE(history.sequences && history.sequences->match(mover_.get()));
  send_text(mover_.get(), "x");
  EXPECT_TRUE(history.sequences->match(mover_.get()));
  const sockaddr none{.sa_family = AF_UNSPEC};
  ASSERT_EQ(::connect(mover_.get(), &none, sizeof none), 0);
  SocketAddress other{pair_.address.ip, 0};
  const auto listener = Connection::listen(other);
  sockaddr_storage to;
  const socklen_t size = other.to(to);
  ASSERT_EQ(::connect(mover_.get(), reinterpret_cast<const sockaddr*>(&to), size), 0)
      << std::strerror(errno);
  EXPECT_FALSE(history.sequences->match(mover_.get()));
}

TEST_P(SharedSocketTest, TheSendQueueOfASocketInUseIsTakenByHold) {
  ASSERT_TRUE(set(mover_.get(), SOL_SOCKET, SO_SNDBUF, 32 << 10, "SO_SNDBUF"));
  ASSERT_TRUE(set(peer_.get(), SOL_SOCKET, SO_RCVBUF, 4 << 10, "SO_RCVBUF"));
  const auto text = fill_up(mover_.get());
  auto frozen = freeze({.in_use = true});
  const auto image = capture(frozen);
  EXPECT_TRUE(image.send_queue.empty());
  const auto delta = frozen.hold(image);
  ASSERT_TRUE(delta) << to_string(delta.error());
  EXPECT_GT(delta->written.size(), delta->sent);
  ASSERT_TRUE(frozen.destroy_silently());
  arrive(image, *delta);
  EXPECT_TRUE(read_text(peer_.get(), text.size()) == text);
  send_text(mover_.get(), "!");
  EXPECT_EQ(read_text(peer_.get(), 1), "!");
}

// The peer is frozen meanwhile, so that nothing is acknowledged.
TEST_P(SharedSocketTest, BytesInFlightMoveAsSent) {
  for (const bool acknowledged : {false, true}) {
    SCOPED_TRACE(acknowledged);
    ASSERT_TRUE(set(peer_.get(), SOL_SOCKET, SO_MARK, kMarks.freeze, "SO_MARK"));
    send_text(mover_.get(), "under way");
    ASSERT_TRUE(eventually([&] { return queued(peer_.get(), SIOCINQ) == 9; }));
    auto frozen = freeze({.in_use = true});
    const auto image = capture(frozen);
    send_text(mover_.get(), ", and not");
    ASSERT_TRUE(set(peer_.get(), SOL_SOCKET, SO_MARK, 0, "SO_MARK"));
    if (acknowledged) {
      send_text(peer_.get(), "x");
      ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCOUTQ) == 9; }));
      EXPECT_EQ(read_text(mover_.get(), 1), "x");
    }
    const auto delta = frozen.hold(image);
    ASSERT_TRUE(delta) << to_string(delta.error());
    EXPECT_EQ(delta->written.size(), 18u);
    EXPECT_EQ(delta->sent, 9u);
    EXPECT_EQ(delta->acked, acknowledged ? 9u : 0u);
    ASSERT_TRUE(frozen.destroy_silently());
    arrive(image, *delta);
    EXPECT_EQ(read_text(peer_.get(), 18), "under way, and not");
    send_text(peer_.get(), "y");
    EXPECT_EQ(read_text(mover_.get(), 1), "y");
  }
}

TEST_P(SharedSocketTest, ThawFailsWithoutTheBytesInFlight) {
  ASSERT_TRUE(set(peer_.get(), SOL_SOCKET, SO_MARK, kMarks.freeze, "SO_MARK"));
  send_text(mover_.get(), "under way");
  auto frozen = freeze({.in_use = true});
  const auto image = capture(frozen);
  EXPECT_EQ(image.to_come, 9u);
  const auto delta = frozen.hold(image);
  ASSERT_TRUE(delta) << to_string(delta.error());
  ASSERT_TRUE(frozen.destroy_silently());
  mover_.reset();
  for (const std::size_t came : {0u, 8u}) {
    auto restored = RestoredSocket::restore(image, kMarks, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    FreezeDelta part = *delta;
    part.written.resize(came);
    part.sent = static_cast<std::uint32_t>(came);
    EXPECT_EQ(restored->receive(part).error().code, EBADMSG);
    EXPECT_EQ(std::move(*restored).thaw().error().code, EBADMSG);
    EXPECT_TRUE(restored->is_frozen());
  }
  ASSERT_TRUE(set(peer_.get(), SOL_SOCKET, SO_MARK, 0, "SO_MARK"));
  arrive(image, *delta);
  EXPECT_EQ(read_text(peer_.get(), 9), "under way");
}

// If the importer cannot insert the freeze delta, the peer sends it again. That is an
// error only if a reader at the exporter has already read some of it.
TEST_P(SharedSocketTest, LateDataThatCannotBeInsertedIsAnErrorOnlyIfSomeWasRead) {
  for (const bool read : {false, true}) {
    SCOPED_TRACE(read);
    auto frozen = freeze();
    const auto image = capture(frozen);
    send_text(peer_.get(), "late");
    ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == 4; }));
    if (read) {
      EXPECT_EQ(read_text(mover_.get(), 1), "l");
    }
    const auto delta = frozen.hold(image);
    ASSERT_TRUE(delta) << to_string(delta.error());
    ASSERT_TRUE(frozen.destroy_silently());
    mover_.reset();
    auto restored = RestoredSocket::restore(image, kMarks, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    ASSERT_EQ(
        std::system("nft 'table inet no_output { chain out { type filter hook output priority 0; "
                    "meta mark 0x5f drop; }; }'"),
        0);
    const auto received = restored->receive(*delta);
    ASSERT_EQ(std::system("nft delete table inet no_output"), 0);
    EXPECT_EQ(received.has_value(), !read);
    if (read) continue;
    mover_ = thawed(std::move(restored));
    EXPECT_EQ(read_text(mover_.get(), 4), "late");
  }
}

TEST_P(SharedSocketTest, ReceiveRefusesSentBytesWithASendQueueOrWithoutBytes) {
  FreezeDelta delta;
  delta.written = {1, 2};
  for (const std::uint32_t sent : {1u, 3u}) {
    pair_ = Connection::make(GetParam());
    auto image = export_image(mover_);
    if (sent == 1) image.send_queue = {7}, ++image.snd_seq;
    auto restored = RestoredSocket::restore(image, kMarks, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    delta.sent = sent;
    EXPECT_EQ(restored->receive(delta).error().code, EBADMSG);
  }
}

TEST(Histories, TheOldestIsForgottenBeyondTheLimit) {
  Histories histories;
  for (std::uint64_t cookie = 1; cookie <= 5000; ++cookie)
    histories.remember(cookie, {.in_use = true});
  EXPECT_FALSE(histories.find(1).in_use);
  EXPECT_TRUE(histories.find(5000).in_use);
  EXPECT_FALSE(histories.find(6000).in_use);
}

TEST_P(SharedSocketTest, HoldExpectsNoSleepingWriterOnANonBlockingSocket) {
  ASSERT_EQ(::fcntl(mover_.get(), F_SETFL, O_NONBLOCK), 0);
  auto frozen = freeze();
  const auto image = capture(frozen);
  const auto delta = frozen.hold(image);
  ASSERT_TRUE(delta) << to_string(delta.error());
  EXPECT_FALSE(delta->more);
}

}  // namespace
}  // namespace sockmi::tcp
