// Sockets move inside one network namespace of the test: captured, destroyed silently,
// and restored.
#include <vector>

#include "connection.h"

namespace sockmi::tcp {
namespace {

class CaptureRestoreTest : public ConnectionTest {};

INSTANTIATE_TEST_SUITE_P(Families, CaptureRestoreTest, testing::ValuesIn(kFamilies));

TEST_P(CaptureRestoreTest, BothDirectionsWorkAfterAMove) {
  move(mover_);
  send_text(peer_.get(), "ping");
  EXPECT_EQ(read_text(mover_.get(), 4), "ping");
  send_text(mover_.get(), "pong");
  EXPECT_EQ(read_text(peer_.get(), 4), "pong");
}

TEST_P(CaptureRestoreTest, UnreadBytesMove) {
  const std::string text(40'000, 'u');
  send_text(peer_.get(), text);
  ASSERT_EQ(
      ::recv(mover_.get(), std::string(text.size(), 0).data(), text.size(), MSG_PEEK | MSG_WAITALL),
      static_cast<ssize_t>(text.size()));
  const auto image = export_image(mover_);
  EXPECT_EQ(image.receive_queue.size(), text.size());
  mover_ = import_image(image);
  EXPECT_EQ(read_text(mover_.get(), text.size()), text);
}

TEST_P(CaptureRestoreTest, UnsentBytesMove) {
  const std::string all = fill_up(
      // The peer does not read: what its window does not accept stays with the mover.
      mover_.get());
  const auto image = export_image(mover_);
  EXPECT_GT(image.send_queue.size(), 100'000u);
  mover_ = import_image(image);
  EXPECT_TRUE(read_text(peer_.get(), all.size()) == all);
}

TEST_P(CaptureRestoreTest, TheConnectionWorksAfterEachOfTenMoves) {
  for (int i = 0; i < 10; ++i) {
    move(mover_);
    send_text(peer_.get(), "a");
    send_text(mover_.get(), "b");
    EXPECT_EQ(read_text(mover_.get(), 1) + read_text(peer_.get(), 1), "ab");
  }
}

TEST_P(CaptureRestoreTest, BuffersDoNotGrowWithEachMove) {
  std::vector<int> sizes;
  for (int i = 0; i < 6; ++i) {
    fill_up(mover_.get());
    fill_up(peer_.get());
    const int send_buffer = value_of(mover_.get(), SOL_SOCKET, SO_SNDBUF),
              receive_buffer = value_of(mover_.get(), SOL_SOCKET, SO_RCVBUF);
    move(mover_);
    EXPECT_LE(value_of(mover_.get(), SOL_SOCKET, SO_SNDBUF), send_buffer);
    EXPECT_LE(value_of(mover_.get(), SOL_SOCKET, SO_RCVBUF), receive_buffer + receive_buffer / 2);
    sizes.push_back(value_of(mover_.get(), SOL_SOCKET, SO_RCVBUF));
  }
  EXPECT_LE(sizes.back(), 2 * sizes.front());
}

TEST_P(CaptureRestoreTest, AnUnfrozenSocketWorksAndASecondFreezeIsRefused) {
  {
    const auto owner = OriginalOptions::of(mover_.get());
    ASSERT_TRUE(owner);
    auto frozen = FrozenSocket::freeze(mover_.get(), kMarks);
    ASSERT_TRUE(frozen);
    EXPECT_EQ(FrozenSocket::freeze(mover_.get(), *owner, kMarks).error().code, EBUSY)
        << "who looked before the freeze";
    ASSERT_TRUE(frozen->capture());
    EXPECT_EQ(FrozenSocket::freeze(mover_.get(), kMarks).error().code, EBUSY) << "by two at once";
  }
  send_text(peer_.get(), "ping");
  EXPECT_EQ(read_text(mover_.get(), 4), "ping");
  send_text(mover_.get(), "pong");
  EXPECT_EQ(read_text(peer_.get(), 4), "pong");
}

TEST_P(CaptureRestoreTest, ReceivedSinceNoticesAStraggler) {
  auto frozen = FrozenSocket::freeze(mover_.get(), kMarks);
  ASSERT_TRUE(frozen);
  const auto image = frozen->capture();
  ASSERT_TRUE(image);
  const auto before = frozen->received_since(*image);
  EXPECT_TRUE(before && before->empty());
  send_text(peer_.get(), "straggler");  // no rule drops it here
  pollfd arrived{mover_.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&arrived, 1, 10'000), 1);
  const auto after = frozen->received_since(*image);
  EXPECT_TRUE(after && !after->empty());
}

TEST_P(CaptureRestoreTest, FreezeRefusesUrgentData) {
  ASSERT_EQ(::send(peer_.get(), "!", 1, MSG_OOB), 1);
  char byte;
  // SIOCATMARK and similar calls report its arrival. A byte after it is read as soon as
  // both have arrived.
  send_text(peer_.get(), "x");
  ASSERT_EQ(::recv(mover_.get(), &byte, 1, MSG_PEEK), 1);
  EXPECT_EQ(FrozenSocket::freeze(mover_.get(), kMarks).error().code, ENOTSUP);
}

TEST_P(CaptureRestoreTest, RestoreRefusesImpossibleImages) {
  const auto good = export_image(mover_);
  const auto refused = [&](auto change) {
    wire::TcpT image = good;
    change(image);
    const auto restored = RestoredSocket::restore(image, kMarks, false);
    return restored ? 0 : restored.error().code;
  };
  EXPECT_EQ(refused([](auto& i) { i.window.reset(); }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.local_ip.push_back(0); }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.remote_port = 0; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.unsent = 1; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.snd_wscale = 15; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.mss = 0; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.state = kListen; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.state = kTimeWait; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.state = kSynSent, i.snd_seq = 1; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.state = kSynSent, i.receive_queue = {1}; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.state = kFinWait2, i.send_queue = {1}; }), EBADMSG);
  EXPECT_EQ(
      refused([](auto& i) { i.window = std::make_unique<wire::Window>(0, 0, 0, 0xffffffff, 0); }),
      EBADMSG);
  mover_ = import_image(good);
}

}  // namespace
}  // namespace sockmi::tcp
