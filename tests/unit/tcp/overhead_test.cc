// The window that a restored socket promises to its peer does not depend on the size of
// the peer's next segment.
#include <cstdlib>

#include "connection.h"
#include "tcp/overhead.h"
#include "tcp/socket_info.h"
#include "unit/few_descriptors.h"

namespace sockmi::tcp {
namespace {

constexpr int kMtu = 1500, kSegment = 1400;

class OverheadTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "no network namespace to be had here";
    // The connection uses Ethernet-sized segments; the MTU lets our own large ones, and
    // the peer's, pass.
    ASSERT_EQ(std::system(("ip link set lo mtu " + std::to_string(kMtu)).c_str()), 0);
    pair_ = Connection::make(GetParam());
    ASSERT_EQ(std::system("ip link set lo mtu 65536"), 0);
    const int size = 1 << 20;
    ASSERT_EQ(::setsockopt(pair_.mover.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size), 0);
  }

  void receive(std::size_t count) {
    const std::string text(count, 'x');
    send_text(pair_.peer.get(), text);
    ASSERT_TRUE(read_text(pair_.mover.get(), count) == text);
  }
  // Returns the share of the buffer that the kernel counts as payload.
  double promised() const {
    return double(value_of(pair_.mover.get(), IPPROTO_TCP, TCP_WINDOW_CLAMP)) /
           value_of(pair_.mover.get(), SOL_SOCKET, SO_RCVBUF);
  }

  Connection pair_;
};

INSTANTIATE_TEST_SUITE_P(Families, OverheadTest, testing::ValuesIn(kFamilies));

TEST_P(OverheadTest, ALargeSegmentAfterAMoveIsNotMeasured) {
  const double at_first = promised();
  receive(kSegment);
  receive(2 * kMtu);  // the first full segment is measured
  const double before = promised();
  if (before == at_first) GTEST_SKIP() << "this kernel does not measure";
  for (int moves = 1; moves <= 3; ++moves) {
    SCOPED_TRACE(moves);
    const auto image = export_image(pair_.mover);
    ASSERT_GT(sample_size(image), 0u);
    pair_.mover = import_image(image);
    ASSERT_TRUE(pair_.mover);
    receive(60'000);
    EXPECT_LE(promised(), before);
  }
}

// The sample is injected by a socket of its own. Without a descriptor for it the
// connection is restored all the same, or the restore fails and can be repeated: the peer
// notices nothing.
TEST_P(OverheadTest, LackOfDescriptorsCostsNoConnection) {
  receive(kSegment);
  receive(2 * kMtu);
  send_text(pair_.peer.get(), "unread");
  ASSERT_TRUE(eventually([&] { return queued(pair_.mover.get(), SIOCINQ) == 6; }));
  const auto image = export_image(pair_.mover);
  if (sample_size(image) == 0) GTEST_SKIP() << "this kernel does not measure";

  int failures = 0;
  for (rlim_t more = 0; !pair_.mover; ++more) {
    SCOPED_TRACE(more);
    ASSERT_LT(more, 10u) << "it needs more and more descriptors";
    auto restored = [&] {
      const test::FewDescriptors few(more);
      return RestoredSocket::restore(image, kMarks, false);
    }();
    if (!restored) {
      EXPECT_EQ(restored.error().code, EMFILE) << to_string(restored.error());
      ++failures;
      continue;
    }
    pair_.mover = thawed(std::move(restored));
    ASSERT_TRUE(pair_.mover);
  }

  EXPECT_GT(failures, 0) << "this test shows nothing";
  EXPECT_EQ(read_text(pair_.mover.get(), 6), "unread");
  send_text(pair_.mover.get(), "pong");
  EXPECT_EQ(read_text(pair_.peer.get(), 4), "pong");
  receive(60'000);
}

TEST(Overhead, SampleSizeIsZeroForLooseSegmentsAndSmallWindows) {
  wire::TcpT image;
  image.mss = 1448;
  const int buffer = 1 << 20;
  auto option = std::make_unique<wire::SocketOptionT>();
  option->level = SOL_SOCKET;
  option->name = SO_RCVBUF;
  option->value.assign(reinterpret_cast<const std::uint8_t*>(&buffer),
                       reinterpret_cast<const std::uint8_t*>(&buffer + 1));
  image.options.push_back(std::move(option));
  image.window_clamp = 600'000;
  EXPECT_GE(sample_size(image), image.mss);
  image.mss = 8948;
  EXPECT_GE(sample_size(image), image.mss);
  image.mss = 30'000;
  EXPECT_EQ(sample_size(image), 0u);
  image.mss = 1448;
  image.window_clamp = 300'000;
  EXPECT_EQ(sample_size(image), 0u) << "a page for each";
  image.window_clamp = 65'535;
  EXPECT_EQ(sample_size(image), 0u) << "little has come";
}

}  // namespace
}  // namespace sockmi::tcp
