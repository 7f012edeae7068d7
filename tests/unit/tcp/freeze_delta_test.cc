// Tests the freeze delta: what the frozen socket received after its capture reaches the
// restored one.
#include "connection.h"

namespace sockmi::tcp {
namespace {

class FreezeDeltaTest : public ConnectionTest {
 protected:
  // Freezes and captures the mover. Between that and the end of its old socket, calls
  // `meanwhile` and waits for `await`.
  Result<FreezeDelta> delta(const std::function<void()>& meanwhile,
                            const std::function<bool()>& come) {
    TRY_LET(frozen, FrozenSocket::freeze(mover_.get(), kMarks));
    TRY_LET(image, frozen.capture());
    image_ = std::move(image);
    meanwhile();
    EXPECT_TRUE(eventually(come));
    auto received = frozen.received_since(image_);
    const auto again = frozen.received_since(image_);
    EXPECT_EQ(again && again->empty(), received && received->empty());
    if (received) TRY(frozen.destroy_silently());
    return received;
  }

  bool has_received(std::size_t bytes) { return queued(mover_.get(), SIOCINQ) == bytes; }

  // `fd` is a frozen or a restored socket.
  static std::uint32_t send_window(int fd) {
    const int on = TCP_REPAIR_ON, off = TCP_REPAIR_OFF_NO_WP,
              before = value_of(fd, IPPROTO_TCP, TCP_REPAIR);
    tcp_repair_window window{};
    socklen_t size = sizeof window;
    ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on);
    EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &size), 0)
        << std::strerror(errno);
    if (before == 0) ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off);
    return window.snd_wnd;
  }

  void restore_with(const FreezeDelta& delta) {
    mover_.reset();
    auto restored = RestoredSocket::restore(image_, kMarks, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    const auto received = restored->receive(delta);
    ASSERT_TRUE(received) << to_string(received.error());
    EXPECT_EQ(queued(restored->fd(), SIOCINQ), image_.receive_queue.size() + delta.bytes.size())
        << "no repetition of the peer's is needed";
    mover_ = thawed(std::move(restored));
  }

  wire::TcpT image_;
};

INSTANTIATE_TEST_SUITE_P(Families, FreezeDeltaTest, testing::ValuesIn(kFamilies));

TEST_P(FreezeDeltaTest, BytesAreAppendedToTheQueue) {
  send_text(peer_.get(), "early ");
  ASSERT_TRUE(eventually([&] { return has_received(6); }));
  const auto received =
      delta([&] { send_text(peer_.get(), "late "); }, [&] { return has_received(11); });
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_EQ(std::string(received->bytes.begin(), received->bytes.end()), "late ");
  EXPECT_FALSE(received->fin);
  restore_with(*received);
  send_text(peer_.get(), "end");
  EXPECT_EQ(read_text(mover_.get(), 14), "early late end");
  send_text(mover_.get(), "x");
  EXPECT_EQ(read_text(peer_.get(), 1), "x");
}

TEST_P(FreezeDeltaTest, AnEmptyDeltaChangesNothing) {
  const auto received = delta([] {}, [] { return true; });
  ASSERT_TRUE(received);
  EXPECT_TRUE(received->empty());
  restore_with(*received);
  send_text(peer_.get(), "x");
  EXPECT_EQ(read_text(mover_.get(), 1), "x");
}

// The socket that received the data is frozen, and the restored one may neither write nor
// read. The peer must not need a timer to learn that the data has arrived.
TEST_P(FreezeDeltaTest, AThawAcknowledgesUnreadBytes) {
  const auto received =
      delta([&] { send_text(peer_.get(), "late"); }, [&] { return has_received(4); });
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_EQ(queued(peer_.get(), SIOCOUTQ), 4u);
  restore_with(*received);
  EXPECT_TRUE(eventually([&] { return queued(peer_.get(), SIOCOUTQ) == 0; }));
  EXPECT_EQ(retransmissions(peer_.get()), 0u);
  EXPECT_EQ(read_text(mover_.get(), 4), "late");
}

// The data came before the freeze, but its acknowledgement was delayed, to be sent with
// an answer.
TEST_P(FreezeDeltaTest, AThawAcknowledgesBytesFromBeforeTheFreeze) {
  for (int i = 0; i < 20; ++i) {  // now the kernel takes it for an interactive connection
    send_text(peer_.get(), "?");
    ASSERT_EQ(read_text(mover_.get(), 1), "?");
    send_text(mover_.get(), "!");
    ASSERT_EQ(read_text(peer_.get(), 1), "!");
  }
  send_text(peer_.get(), "put off");
  ASSERT_EQ(read_text(mover_.get(), 7), "put off");
  const auto received = delta([] {}, [] { return true; });
  ASSERT_TRUE(received) << to_string(received.error());
  restore_with(*received);
  EXPECT_TRUE(eventually([&] { return queued(peer_.get(), SIOCOUTQ) == 0; }));
  EXPECT_EQ(retransmissions(peer_.get()), 0u);
}

// The data came between the last read of the frozen socket and the thaw: then only the
// restored socket has it, which is frozen as well.
TEST_P(FreezeDeltaTest, AThawAcknowledgesBytesThatOnlyTheRestoredSocketHas) {
  const auto received = delta([] {}, [] { return true; });
  ASSERT_TRUE(received && received->empty());
  mover_.reset();
  auto restored = RestoredSocket::restore(image_, kMarks, false);
  ASSERT_TRUE(restored) << to_string(restored.error());
  ASSERT_TRUE(restored->receive(*received));
  send_text(peer_.get(), "late");
  ASSERT_TRUE(eventually([&] { return queued(restored->fd(), SIOCINQ) == 4u; }));
  EXPECT_EQ(queued(peer_.get(), SIOCOUTQ), 4u);
  mover_ = thawed(std::move(restored));
  EXPECT_TRUE(eventually([&] { return queued(peer_.get(), SIOCOUTQ) == 0; }));
  EXPECT_EQ(retransmissions(peer_.get()), 0u);
}

// The same holds for an endpoint that is rolled back: once, and at the next failure
// shortly after. The frozen socket may have "acknowledged" immediately, and does not do
// so again.
TEST_P(FreezeDeltaTest, ARollbackAcknowledgesTheBytes) {
  for (std::size_t received : {4, 8}) {
    auto frozen = FrozenSocket::freeze(mover_.get(), kMarks);
    ASSERT_TRUE(frozen) << to_string(frozen.error());
    send_text(peer_.get(), "late");
    ASSERT_TRUE(eventually([&] { return has_received(received); }));
    EXPECT_EQ(queued(peer_.get(), SIOCOUTQ), 4u);
    ASSERT_TRUE(frozen->unfreeze());
    EXPECT_TRUE(eventually([&] { return queued(peer_.get(), SIOCOUTQ) == 0; }));
  }
  EXPECT_EQ(retransmissions(peer_.get()), 0u);
  EXPECT_EQ(read_text(mover_.get(), 8), "latelate");
}

// The socket is gone then, and what the kernel keeps of it (TIME_WAIT) stays frozen.
TEST_P(FreezeDeltaTest, ARollbackAcknowledgesAFin) {
  ::shutdown(mover_.get(), SHUT_WR);
  ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kFinWait2; }));
  auto frozen = FrozenSocket::freeze(mover_.get(), kMarks);
  ASSERT_TRUE(frozen) << to_string(frozen.error());
  send_text(peer_.get(), "bye");
  ::shutdown(peer_.get(), SHUT_WR);
  ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kClose; }));
  EXPECT_EQ(state_of(peer_.get()), kLastAck);
  ASSERT_TRUE(frozen->unfreeze());
  EXPECT_TRUE(eventually([&] { return state_of(peer_.get()) == kClose; }));
  EXPECT_EQ(value_of(peer_.get(), SOL_SOCKET, SO_ERROR), 0);
  EXPECT_EQ(read_to_end(mover_.get()), "bye");
}

TEST_P(FreezeDeltaTest, AcknowledgementsInTheFreezeAreRestored) {
  // While both ends are frozen, what one end sends stays unacknowledged.
  auto quiet = FrozenSocket::freeze(peer_.get(), kMarks);
  ASSERT_TRUE(quiet);
  send_text(mover_.get(), "sent");
  const auto received = delta(
      [&] {
        EXPECT_TRUE(quiet->unfreeze());
        send_text(peer_.get(), "and answered");
      },
      [&] { return has_received(12); });
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_EQ(image_.send_queue.size(), 4u);
  EXPECT_EQ(received->acked, 4u);
  mover_.reset();
  auto restored = RestoredSocket::restore(image_, kMarks, false);
  ASSERT_TRUE(restored && restored->receive(*received));
  EXPECT_EQ(queued(restored->fd(), SIOCOUTQ), 0u);
  mover_ = thawed(std::move(restored));
  EXPECT_EQ(read_text(peer_.get(), 4) + read_text(mover_.get(), 12), "sentand answered");
}

// The peer, which waits for bytes, announces only once that it has room again.
TEST_P(FreezeDeltaTest, AWiderPeerWindowIsRestored) {
  const std::string all = fill_up(mover_.get());
  ASSERT_TRUE(eventually(
      [&] { return queued(mover_.get(), SIOCOUTQ) == queued(mover_.get(), SIOCOUTQNSD); }));
  const std::size_t waiting = queued(peer_.get(), SIOCINQ);
  std::string heard;
  std::uint32_t narrow = 0;
  const auto received = delta(
      [&] {
        narrow = send_window(mover_.get());
        heard = read_text(peer_.get(), waiting);
      },
      [&] { return send_window(mover_.get()) > narrow; });
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_GT(received->window, narrow);
  mover_.reset();
  auto restored = RestoredSocket::restore(image_, kMarks, false);
  ASSERT_TRUE(restored && restored->receive(*received));
  EXPECT_EQ(send_window(restored->fd()), received->window);
  mover_ = thawed(std::move(restored));
  EXPECT_TRUE(heard + read_text(peer_.get(), all.size() - waiting) == all);
}

TEST_P(FreezeDeltaTest, AnAcknowledgementOfUnsentBytesIsRefused) {
  ASSERT_TRUE(delta([] {}, [] { return true; }));
  mover_.reset();
  auto restored = RestoredSocket::restore(image_, kMarks, false);
  ASSERT_TRUE(restored);
  FreezeDelta delta;
  delta.acked = 1;
  EXPECT_EQ(restored->receive(delta).error().code, EBADMSG);
}

TEST_P(FreezeDeltaTest, AFullWindowOfBytesIsRestored) {
  std::string all;
  const int patience = 100;  // SO_RCVLOWAT: not every segment wakes the reader
  ::setsockopt(mover_.get(), SOL_SOCKET, SO_RCVLOWAT, &patience, sizeof patience);
  const auto all_came = [&] {
    return has_received(queued(peer_.get(), SIOCOUTQ) - queued(peer_.get(), SIOCOUTQNSD));
  };
  const auto received = delta([&] { all = fill_up(peer_.get()); }, all_came);
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_GT(received->bytes.size(), kLargestSegment);
  restore_with(*received);
  EXPECT_EQ(value_of(mover_.get(), SOL_SOCKET, SO_RCVLOWAT), patience);
  EXPECT_TRUE(read_text(mover_.get(), all.size()) == all);
}

TEST_P(FreezeDeltaTest, AFinInTheFreezeIsRestored) {
  const auto received = delta(
      [&] {
        send_text(peer_.get(), "bye");
        ::shutdown(peer_.get(), SHUT_WR);
      },
      [&] { return state_of(mover_.get()) == kCloseWait; });
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_TRUE(received->fin);
  restore_with(*received);
  EXPECT_EQ(state_of(mover_.get()), kCloseWait);
  EXPECT_EQ(read_to_end(mover_.get()), "bye");
}

TEST_P(FreezeDeltaTest, AFinAfterOurOwnIsRestored) {
  ::shutdown(mover_.get(), SHUT_WR);
  ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kFinWait2; }));
  const auto received = delta(
      [&] {
        send_text(peer_.get(), "bye");
        peer_.reset();
      },
      [&] { return state_of(mover_.get()) == kClose; });
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_TRUE(received->fin);
  EXPECT_EQ(received->bytes.size(), 3u);
  restore_with(*received);
  EXPECT_EQ(read_to_end(mover_.get()), "bye");
  EXPECT_TRUE(eventually([&] { return state_of(mover_.get()) == kClose; }));
}

TEST_P(FreezeDeltaTest, AFinWhileOurOwnIsUnsentIsRestored) {
  const std::string all = fill_up(mover_.get());
  ::shutdown(mover_.get(), SHUT_WR);
  const auto received = delta([&] { ::shutdown(peer_.get(), SHUT_WR); },
                              [&] { return state_of(mover_.get()) == kClosing; });
  ASSERT_TRUE(received) << to_string(received.error());
  EXPECT_TRUE(received->fin);
  restore_with(*received);
  EXPECT_EQ(state_of(mover_.get()), kClosing);
  EXPECT_TRUE(read_to_end(peer_.get()) == all);
  EXPECT_TRUE(eventually([&] { return state_of(mover_.get()) == kClose; }));
}

// Segments of the peer that reach the restored socket first wait behind the gap.
TEST_P(FreezeDeltaTest, TheDeltaJoinsSegmentsOutOfOrder) {
  const auto received =
      delta([&] { send_text(peer_.get(), "one "); }, [&] { return has_received(4); });
  ASSERT_TRUE(received);
  mover_.reset();
  auto restored = RestoredSocket::restore(image_, kMarks, false);
  ASSERT_TRUE(restored) << to_string(restored.error());
  send_text(peer_.get(), "two");
  EXPECT_EQ(queued(restored->fd(), SIOCINQ), 0u);
  ASSERT_TRUE(restored->receive(*received));
  EXPECT_TRUE(eventually([&] { return queued(restored->fd(), SIOCINQ) == 7; }));
  mover_ = thawed(std::move(restored));
  EXPECT_EQ(read_text(mover_.get(), 7), "one two");
}

TEST_P(FreezeDeltaTest, UrgentDataInTheFreezeIsRefused) {
  const auto received = delta([&] { ASSERT_EQ(::send(peer_.get(), "xy", 2, MSG_OOB), 2); },
                              [&] { return has_received(1); });
  EXPECT_EQ(received.error().code, ENOTSUP);
}

TEST_P(FreezeDeltaTest, AResetInTheFreezeIsAnError) {
  const linger at_once{1, 0};
  ::setsockopt(peer_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  const auto received =
      delta([&] { peer_.reset(); }, [&] { return state_of(mover_.get()) == kClose; });
  EXPECT_EQ(received.error().code, ECONNRESET);
  EXPECT_EQ(::recv(mover_.get(), nullptr, 0, 0), -1);
  EXPECT_EQ(errno, ECONNRESET) << "the owner hears of it";
}

TEST_P(FreezeDeltaTest, ASynAckInTheFreezeRequiresAnotherCapture) {
  SocketAddress address{*IpAddress::parse(GetParam()), 0};
  const unique_fd listener = Connection::listen(address, 0);
  const unique_fd first = Connection::connect(address);
  mover_ = Connection::connect(address, SOCK_NONBLOCK);
  ASSERT_EQ(state_of(mover_.get()), kSynSent);
  EXPECT_TRUE(delta([] {}, [] { return true; })->empty());
  mover_ = Connection::connect(address, SOCK_NONBLOCK);
  const auto answered = [&] {
    const std::uint32_t loud = 0;  // so that its second SYN leaves
    ::setsockopt(mover_.get(), SOL_SOCKET, SO_MARK, &loud, sizeof loud);
    ::close(::accept(listener.get(), nullptr, nullptr));
  };
  const auto received = delta(answered, [&] { return state_of(mover_.get()) == kEstablished; });
  EXPECT_EQ(received.error().code, EAGAIN);
}

}  // namespace
}  // namespace sockmi::tcp
