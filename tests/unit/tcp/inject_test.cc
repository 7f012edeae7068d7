// Injected segments, which no peer has sent, reach the socket like real ones.
#include <cstdlib>
#include <numeric>

#include "connection.h"
#include "tcp/inject.h"
#include "tcp/socket_info.h"
#include "tcp/socket_options.h"

namespace sockmi::tcp {
namespace {

class InjectTest : public ConnectionTest {
 protected:
  // Returns the segment that `mover` expects next.
  Segment next() {
    const int fd = pair_.mover.get();
    EXPECT_TRUE(set_repair(fd, TCP_REPAIR_ON));
    const auto seq = queue_sequence(fd, TCP_RECV_QUEUE), ack = queue_sequence(fd, TCP_SEND_QUEUE);
    EXPECT_TRUE(set_repair(fd, TCP_REPAIR_OFF_NO_WP));
    return {.tuple = socket_info(fd)->tuple, .seq = *seq, .ack = *ack, .window = 1000};
  }
};

INSTANTIATE_TEST_SUITE_P(Families, InjectTest, testing::ValuesIn(kFamilies));

TEST_P(InjectTest, DataAndFinArrive) {
  std::string text(50'001, 0);  // two segments
  std::iota(text.begin(), text.end(), 0);
  Segment segment = next();
  segment.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  segment.fin = true;
  const auto injected = inject_data(segment, kMarks.inject, Next::IsMeasured);
  ASSERT_TRUE(injected) << to_string(injected.error());
  EXPECT_TRUE(read_to_end(pair_.mover.get()) == text);
  EXPECT_EQ(state_of(pair_.mover.get()), kCloseWait);
}

// The kernel derives from a segment how much of its buffer it may promise to the peer.
TEST_P(InjectTest, InjectedDataDoesNotWidenThePromisedWindow) {
  const int fd = pair_.mover.get(), size = 1 << 20;
  ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size), 0);
  const auto room = [&] {
    return value_of(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP);
  };
  Segment segment = next();
  const int before = room();
  for (const std::size_t length :
       {700, 1'199, 1'201, 1'900, 3'500, 7'900, 15'900, 31'900, 65'000}) {
    SCOPED_TRACE(length);
    const std::string text(length, 'x');
    segment.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
    ASSERT_TRUE(inject_data(segment, kMarks.inject, Next::IsMeasured));
    ASSERT_TRUE(read_text(fd, length) == text);
    if (room() == before) GTEST_SKIP() << "this kernel does not measure";
    EXPECT_LT(room(), 0.7 * value_of(fd, SOL_SOCKET, SO_RCVBUF));
    segment.seq += static_cast<std::uint32_t>(length);
  }
  tcp_info info{};
  socklen_t info_size = sizeof info;
  ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_size), 0);
  EXPECT_LE(info.tcpi_rcv_mss, 600u) << "the peer's next segment is not measured";
}

// No piece is mistaken for the peer's usual segment (two of one size, smaller than those
// measured so far).
TEST_P(InjectTest, AfterASampleThePeersNextSegmentIsNotMeasured) {
  const int fd = pair_.mover.get();
  Segment segment = next();
  for (const std::size_t length : {2'500, 700, 1'199, 1'201, 1'900, 2'400, 3'500, 7'900, 31'900}) {
    SCOPED_TRACE(length);
    const std::string text(length, 'x');
    segment.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
    ASSERT_TRUE(inject_data(segment, kMarks.inject, Next::IsAsSample));
    ASSERT_TRUE(read_text(fd, length) == text);
    segment.seq += static_cast<std::uint32_t>(length);
    tcp_info info{};
    socklen_t size = sizeof info;
    ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    EXPECT_GE(info.tcpi_rcv_mss, 2'500u);
  }
}

TEST_P(InjectTest, ASegmentOfMaximumSizeArrives) {
  const std::string text(kLargestSegment, 'x');
  Segment segment = next();
  segment.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  ASSERT_TRUE(inject(segment, kMarks.inject));
  EXPECT_TRUE(read_text(pair_.mover.get(), text.size()) == text);
}

TEST_P(InjectTest, OversizedSegmentsAndMixedFamiliesAreRefused) {
  const std::string text(kLargestSegment + 1, 'x');
  Segment segment = next();
  segment.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  EXPECT_EQ(inject(segment, kMarks.inject).error().code, EMSGSIZE);
  segment.data = {};
  segment.tuple.remote.ip =
      *IpAddress::parse(segment.tuple.local.ip.unmapped().family == AF_INET ? "::1" : "127.0.0.1");
  EXPECT_EQ(inject(segment, kMarks.inject).error().code, EINVAL);
}

// A socket whose address is not an address of this host, as steer sets it up by a rule
// and a table. Then it becomes an address of an interface, and the same holds.
TEST_P(InjectTest, TheMarksRuleDeliversToAForeignAddress) {
  const bool v6 = pair_.address.ip.unmapped().family == AF_INET6;
  const std::string ip = v6 ? "ip -6 " : "ip ", ours = v6 ? "fd00:9::9" : "10.9.9.9",
                    net = v6 ? "fd00:9::/64" : "10.9.9.0/24";
  const auto run = [&](const std::string& command) {
    return std::system((ip + command).c_str());
  };
  const auto undo = [&] {
    run("rule del fwmark 0x5f lookup 77 2>/dev/null");
    run("link del inj0 2>/dev/null");
  };
  undo();
  ASSERT_EQ(run("link add inj0 type veth peer name inj1") | run("link set inj0 up") |
                run("link set inj1 up"),
            0);
  ASSERT_EQ(
      run("route add " + net + " dev inj0") | run("route replace local default dev lo table 77"),
      0);
  auto image = export_image(pair_.mover);
  const auto place = [](Bytes& field, const std::string& text) {
    const auto parsed = *IpAddress::parse(text);
    std::copy_n(parsed.bytes.begin(), parsed.size(),
                field.end() - static_cast<std::ptrdiff_t>(parsed.size()));
  };
  place(image.local_ip, ours);
  place(image.remote_ip, v6 ? "fd00:9::8" : "10.9.9.8");
  auto restored = RestoredSocket::restore(image, kMarks, true);
  ASSERT_TRUE(restored) << to_string(restored.error());
  const auto say_next = [&](const std::string& text) {
    Segment segment{.tuple = socket_info(restored->fd())->tuple,
                    .seq = image.rcv_seq,
                    .ack = image.snd_seq,
                    .window = 1000};
    segment.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
    (void)inject(segment, kMarks.inject);
    image.rcv_seq += static_cast<std::uint32_t>(text.size());
  };
  const auto received = [&] {
    return queued(restored->fd(), SIOCINQ);
  };
  EXPECT_EQ(run("rule add fwmark 0x5f lookup 77"), 0);
  say_next("one");
  EXPECT_TRUE(eventually([&] { return received() == 3; }));
  EXPECT_EQ(run("addr add " + ours + " dev inj0" + (v6 ? " nodad" : "")), 0);
  say_next("two");
  EXPECT_TRUE(eventually([&] { return received() == 6; }));
  undo();
}

}  // namespace
}  // namespace sockmi::tcp
