// Every state moves, and the connection continues from it to its end. For a state that
// needs a full window no packet has to be lost: the mover's FIN waits behind bytes that
// the peer has no room for.
#include "connection.h"

namespace sockmi::tcp {
namespace {

class StatesTest : public ConnectionTest {
 protected:
  int state() const { return state_of(pair_.mover.get()); }
  bool comes_to(int state) const {
    return eventually([&] { return state_of(pair_.mover.get()) == state; });
  }
  void finish(unique_fd& end) { ASSERT_EQ(::shutdown(end.get(), SHUT_WR), 0); }
};

INSTANTIATE_TEST_SUITE_P(Families, StatesTest, testing::ValuesIn(kFamilies));

TEST_P(StatesTest, CloseWaitWithUnreadDataMoves) {
  send_text(peer_.get(), "last words");
  finish(peer_);
  ASSERT_TRUE(comes_to(kCloseWait));
  move(mover_);
  EXPECT_EQ(state(), kCloseWait);
  EXPECT_EQ(read_to_end(mover_.get()), "last words");
  send_text(mover_.get(), "answer");
  mover_.reset();
  EXPECT_EQ(read_to_end(peer_.get()), "answer");
}

// The kernel puts off its acknowledgements if it takes the connection for an interactive
// one, and does not make up for it on request while something is unread.
TEST_P(StatesTest, CloseWaitWithAnUnacknowledgedFinMoves) {
  for (const std::string last : {"", "last words"}) {
    SCOPED_TRACE(last);
    pair_ = Connection::make(GetParam());
    for (int i = 0; i < 20; ++i) {
      send_text(peer_.get(), "?");
      ASSERT_EQ(read_text(mover_.get(), 1), "?");
      send_text(mover_.get(), "!");
      ASSERT_EQ(read_text(peer_.get(), 1), "!");
    }
    if (!last.empty()) send_text(peer_.get(), last);
    finish(peer_);
    ASSERT_TRUE(comes_to(kCloseWait));
    move(mover_);
    EXPECT_TRUE(eventually([&] { return state_of(peer_.get()) == kFinWait2; }));
    EXPECT_EQ(read_to_end(mover_.get()), last);
    send_text(mover_.get(), "answer");
    mover_.reset();
    EXPECT_EQ(read_to_end(peer_.get()), "answer");
  }
}

TEST_P(StatesTest, CloseWaitWithAFullQueueMoves) {
  const std::string all = fill_up(peer_.get());
  finish(peer_);
  std::string heard = read_text(mover_.get(), all.size() - 100'000);
  ASSERT_TRUE(comes_to(kCloseWait));
  move(mover_);
  EXPECT_EQ(state(), kCloseWait);
  heard += read_to_end(mover_.get());
  EXPECT_TRUE(heard == all);
}

TEST_P(StatesTest, FinWait2Moves) {
  send_text(mover_.get(), "request");
  finish(mover_);
  send_text(peer_.get(), "half of the ");
  ASSERT_TRUE(comes_to(kFinWait2));
  move(mover_);
  EXPECT_EQ(state(), kFinWait2);
  EXPECT_EQ(read_to_end(peer_.get()), "request");
  send_text(peer_.get(), "answer");
  peer_.reset();
  EXPECT_EQ(read_to_end(mover_.get()), "half of the answer");
  EXPECT_TRUE(comes_to(kClose));
}

TEST_P(StatesTest, FinWait1WithUnsentDataMoves) {
  const std::string all = fill_up(mover_.get());
  finish(mover_);
  ASSERT_EQ(state(), kFinWait1);
  move(mover_);
  EXPECT_EQ(state(), kFinWait1);
  EXPECT_TRUE(read_to_end(peer_.get()) == all);
  EXPECT_TRUE(comes_to(kFinWait2));
  send_text(peer_.get(), "thanks");
  peer_.reset();
  EXPECT_EQ(read_to_end(mover_.get()), "thanks");
}

TEST_P(StatesTest, LastAckWithUnsentDataMoves) {
  send_text(peer_.get(), "request");
  finish(peer_);
  ASSERT_TRUE(comes_to(kCloseWait));
  const std::string all = fill_up(mover_.get());
  finish(mover_);
  ASSERT_EQ(state(), kLastAck);
  move(mover_);
  EXPECT_EQ(state(), kLastAck);
  EXPECT_EQ(read_to_end(mover_.get()), "request");
  EXPECT_TRUE(read_to_end(peer_.get()) == all);
  EXPECT_TRUE(comes_to(kClose));
}

TEST_P(StatesTest, ClosingWithUnsentDataMoves) {
  const std::string all = fill_up(mover_.get());
  finish(mover_);
  send_text(peer_.get(), "path_requirements");
  finish(peer_);
  ASSERT_TRUE(comes_to(kClosing));
  move(mover_);
  EXPECT_EQ(state(), kClosing);
  EXPECT_EQ(read_to_end(mover_.get()), "path_requirements");
  EXPECT_TRUE(read_to_end(peer_.get()) == all);
  EXPECT_TRUE(comes_to(kClose));
}

TEST_P(StatesTest, EachClosingStateMovesThreeTimes) {
  const std::string all = fill_up(mover_.get());
  finish(mover_);
  for (int i = 0; i < 3; ++i)
    move(mover_);
  finish(peer_);
  ASSERT_TRUE(comes_to(kClosing));
  for (int i = 0; i < 3; ++i)
    move(mover_);
  EXPECT_TRUE(read_to_end(peer_.get()) == all);
  EXPECT_TRUE(comes_to(kClose));
}

TEST_P(StatesTest, AShutDownReadSideMoves) {
  ASSERT_EQ(::shutdown(mover_.get(), SHUT_RD), 0);
  move(mover_);
  EXPECT_EQ(state(), kEstablished);
  EXPECT_EQ(read_text(mover_.get(), 1), "");
  send_text(mover_.get(), "x");
  EXPECT_EQ(read_text(peer_.get(), 1), "x");
}

// The listener's queue is full, so it drops the SYN.
TEST_P(StatesTest, SynSentMoves) {
  SocketAddress address{*IpAddress::parse(GetParam()), 0};
  const unique_fd listener = Connection::listen(address, 0);
  const unique_fd first = Connection::connect(address);
  mover_ = Connection::connect(address, SOCK_NONBLOCK);
  ASSERT_EQ(state(), kSynSent);
  const auto image = export_image(mover_);
  EXPECT_EQ(image.state, kSynSent);
  unique_fd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  auto restored = RestoredSocket::restore(image, kMarks, false);
  ASSERT_TRUE(restored) << to_string(restored.error());
  EXPECT_FALSE(readable(listener.get(), 0)) << "a SYN before the thaw";
  mover_ = thawed(std::move(restored));
  ASSERT_TRUE(readable(listener.get()));
  tcp_info info{};
  socklen_t size = sizeof info;
  ::getsockopt(mover_.get(), IPPROTO_TCP, TCP_INFO, &info, &size);
  EXPECT_EQ(info.tcpi_total_retrans, 0u) << "it went out with the thaw, not after a timeout";
  EXPECT_EQ(::fcntl(mover_.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  accepted.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  send_text(mover_.get(), "x");
  EXPECT_EQ(read_text(accepted.get(), 1), "x");
}

TEST_P(StatesTest, ListenersAndClosedSocketsAreRefused) {
  const auto refused = [](int fd) {
    return FrozenSocket::freeze(fd, kMarks).error().code;
  };
  EXPECT_EQ(refused(pair_.listener.get()), ENOTCONN);
  finish(mover_);
  EXPECT_EQ(read_to_end(peer_.get()), "");
  peer_.reset();
  EXPECT_EQ(read_to_end(mover_.get()), "");
  ASSERT_TRUE(comes_to(kClose));  // only the kernel has a socket in TIME_WAIT
  EXPECT_EQ(refused(mover_.get()), ENOTCONN);
}

}  // namespace
}  // namespace sockmi::tcp
