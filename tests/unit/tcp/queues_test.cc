// Queues of every size, at every sequence number, move at any time: the bytes of both
// streams arrive as they were sent, and nothing stalls.
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdarg>
#include <functional>
#include <random>

#include "connection.h"
#include "tcp/inject.h"
#include "tcp/queues.h"
#include "tcp/socket_info.h"
#include "tcp/socket_options.h"

namespace {
std::function<void()>
    before_look;  // what others do to a socket just before the length of its receive queue is read
std::function<void()> after_probe;  // once, when the probe that ends repair mode was sent
}  // namespace

// Replaces the C library's function.
extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list rest;
  va_start(rest, request);
  void* const argument = va_arg(rest, void*);
  va_end(rest);
  if (auto run = request == SIOCINQ ? std::exchange(before_look, nullptr) : nullptr) {
    run();
    before_look = std::move(run);
  }
  return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

extern "C" int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_setsockopt, fd, level, name, value, size));
  if (level == IPPROTO_TCP && name == TCP_REPAIR &&
      *static_cast<const int*>(value) == TCP_REPAIR_OFF)
    if (const auto run = std::exchange(after_probe, nullptr)) run();
  return result;
}

namespace sockmi::tcp {
namespace {

using namespace std::chrono_literals;

// Advances both ends' sequence numbers, so that `up_to_wrap` more bytes of each direction
// reach 2^32.
void turn(Connection& pair, std::uint32_t up_to_wrap) {
  auto ours = export_image(pair.mover), theirs = export_image(pair.peer);
  const auto turned = [&](wire::TcpT& image, std::uint32_t sent, std::uint32_t received) {
    const wire::Window was = *image.window;
    image.window =
        std::make_unique<wire::Window>(was.snd_wl1() + received, was.snd_wnd(), was.max_window(),
                                       was.rcv_wnd(), was.rcv_wup() + received);
    image.snd_seq += sent;
    image.rcv_seq += received;
  };
  const std::uint32_t out = -up_to_wrap - ours.snd_seq, in = -up_to_wrap - theirs.snd_seq;
  turned(ours, out, in);
  turned(theirs, in, out);
  // The socket that is restored first probes the other's window. The kernel must not
  // answer that there is no such connection.
  auto first = RestoredSocket::restore(ours, kMarks, false),
       second = RestoredSocket::restore(theirs, kMarks, false);
  pair.mover = thawed(std::move(first));
  pair.peer = thawed(std::move(second));
}

// One direction of a stream whose bytes encode their positions.
class Stream {
 public:
  void write(int fd, std::size_t most) {
    std::string piece(most, 0);
    for (std::size_t i = 0; i < most; ++i)
      piece[i] = byte_at(written_ + i);
    const ssize_t sent = ::send(fd, piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) written_ += static_cast<std::size_t>(sent);
  }
  void read(int fd, std::size_t most) {
    std::string piece(most, 0);
    const ssize_t got = ::recv(fd, piece.data(), piece.size(), MSG_DONTWAIT);
    for (ssize_t i = 0; i < got; ++i, ++read_)
      if (piece[static_cast<std::size_t>(i)] != byte_at(read_)) wrong_ = true;
  }
  void read_out(int fd) {
    while (read_ < written_ && !wrong_ && readable(fd))
      read(fd, 1 << 20);
  }
  bool correct() const { return !wrong_; }
  std::size_t missing() const { return written_ - read_; }

 private:
  std::size_t written_ = 0, read_ = 0;
  bool wrong_ = false;
};

// Returns how many probes of closed windows were sent in this network namespace.
long window_probes() {
  std::ifstream file("/proc/thread-self/net/netstat");
  for (std::string names, values; std::getline(file, names) && std::getline(file, values);) {
    std::istringstream name(names), value(values);
    for (std::string each, count; name >> each && value >> count;)
      if (each == "TCPWinProbe") return std::stol(count);
  }
  throw std::runtime_error("TCPWinProbe is not counted");
}

class QueuesTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "no network namespace to be had here";
    connect();
  }
  // The peer's probe of a full window may meet no socket in the middle of a move, which
  // takes long on a busy machine. If there were a listener, the RST would be the
  // listener's own (Linux 6.13 and later), and would not be dropped.
  void connect() {
    pair_ = Connection::make(GetParam());
    pair_.listener.reset();
  }
  void arrive(const std::string& text) {
    const auto before = queued(pair_.mover.get(), SIOCINQ);
    send_text(pair_.peer.get(), text);
    ASSERT_TRUE(
        eventually([&] { return queued(pair_.mover.get(), SIOCINQ) == before + text.size(); }));
  }
  Connection pair_;
  unique_fd &mover_ = pair_.mover, &peer_ = pair_.peer;
};

INSTANTIATE_TEST_SUITE_P(Families, QueuesTest, testing::ValuesIn(kFamilies));

TEST_P(QueuesTest, RandomReadsWritesAndMovesKeepBothStreamsAcrossTheWrap) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    std::minstd_rand random(seed);
    const auto upto = [&](std::uint32_t most) {
      return random() % most;
    };
    connect();
    turn(pair_, upto(300'000));
    Stream out, in;
    for (int step = 0; step < 60 && !HasFailure(); ++step) {
      switch (upto(6)) {
        case 0: out.write(mover_.get(), 1 + upto(400'000)); break;
        case 1: in.write(peer_.get(), 1 + upto(400'000)); break;
        case 2: out.read(peer_.get(), 1 + upto(300'000)); break;
        case 3: in.read(mover_.get(), 1 + upto(300'000)); break;
        case 4: move(mover_); break;
        default: upto(4) == 0 ? move(peer_) : move(mover_);
      }
    }
    out.read_out(peer_.get());
    in.read_out(mover_.get());
    EXPECT_TRUE(out.correct() && in.correct());
    EXPECT_EQ(out.missing() + in.missing(), 0u);
  }
}

// 2^32 is at the end or in the middle of a queue.
TEST_P(QueuesTest, QueuesMoveWithTheWrapAtEachPosition) {
  for (const std::uint32_t place : {0u, 1u, 2u, 999u, 1000u, 1001u}) {
    SCOPED_TRACE(place);
    connect();
    turn(pair_, place);
    Stream out, in;
    in.write(peer_.get(), 1000);
    ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == 1000; }));
    move(mover_);
    out.write(mover_.get(), 1000);
    move(mover_);
    out.read_out(peer_.get());
    in.read_out(mover_.get());
    EXPECT_TRUE(out.correct() && in.correct());
    EXPECT_EQ(out.missing() + in.missing(), 0u);
  }
}

// The same with a FIN in the sequence.
TEST_P(QueuesTest, AFinMovesAtTheSequenceWrap) {
  for (const std::uint32_t place : {0u, 1u, 2u, 3u}) {
    SCOPED_TRACE(place);
    connect();
    turn(pair_, place);
    send_text(peer_.get(), "ab");
    ::shutdown(peer_.get(), SHUT_WR);
    ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kCloseWait; }));
    move(mover_);
    EXPECT_EQ(read_to_end(mover_.get()), "ab");
    send_text(mover_.get(), "cd");
    ::shutdown(mover_.get(), SHUT_WR);
    EXPECT_EQ(read_to_end(peer_.get()), "cd");
  }
}

TEST_P(QueuesTest, HasUrgentIgnoresBytesThatComeAndGo) {
  arrive("x");
  before_look = [&, look = 0]() mutable {
    if (++look == 2) arrive("x");
    if (look == 3) read_text(pair_.mover.get(), 1);
  };
  const auto urgent = has_urgent(pair_.mover.get());
  before_look = nullptr;
  ASSERT_TRUE(urgent) << to_string(urgent.error());
  EXPECT_FALSE(*urgent);
}

TEST_P(QueuesTest, HasUrgentSeesAnUrgentByteWhileAnotherIsRead) {
  arrive("xx");
  ASSERT_EQ(::send(pair_.peer.get(), "!", 1, MSG_OOB), 1);
  ASSERT_TRUE(eventually([&] { return has_urgent(pair_.mover.get()).value_or(false); }));
  before_look = [&, look = 0]() mutable {
    if (++look == 2) read_text(pair_.mover.get(), 1);
  };
  const auto urgent = has_urgent(pair_.mover.get());
  before_look = nullptr;
  ASSERT_TRUE(urgent) << to_string(urgent.error());
  EXPECT_TRUE(*urgent);
}

// Returns a segment of the peer that comes `missing` bytes after the next one expected.
Segment out_of_order(int fd, std::uint32_t missing) {
  static const std::uint8_t kByte[1] = {};
  EXPECT_TRUE(set_repair(fd, TCP_REPAIR_ON));
  const auto seq = queue_sequence(fd, TCP_RECV_QUEUE), ack = queue_sequence(fd, TCP_SEND_QUEUE);
  EXPECT_TRUE(set_repair(fd, TCP_REPAIR_OFF_NO_WP));
  return {.tuple = socket_info(fd)->tuple,
          .seq = *seq + missing,
          .ack = *ack,
          .window = 1000,
          .data = kByte};
}

TEST_P(QueuesTest, CaptureIgnoresASegmentOutOfOrder) {
  const Segment segment = out_of_order(pair_.mover.get(), 5000);
  bool came = false;
  after_probe = [&] {
    came = inject(segment, kMarks.inject).has_value();
  };
  auto frozen = FrozenSocket::freeze(pair_.mover.get(), kMarks);
  ASSERT_TRUE(frozen) << to_string(frozen.error());
  const auto image = frozen->capture();
  after_probe = nullptr;
  ASSERT_TRUE(image) << to_string(image.error());
  EXPECT_TRUE(came);
  EXPECT_EQ(image->rcv_seq, segment.seq - 5000);
}

// A segment announced the window whose sequence number the socket has passed since: a
// buffer without room closes the window immediately (ICSK_ACK_NOMEM).
TEST_P(QueuesTest, AWindowFromASegmentOutOfOrderMoves) {
  const Segment segment = out_of_order(pair_.mover.get(), 5000);
  ASSERT_TRUE(inject(segment, kMarks.inject));
  auto image = export_image(pair_.mover);
  ASSERT_EQ(image.window->snd_wl1(), segment.seq);
  const wire::Window was = *image.window;
  image.window = std::make_unique<wire::Window>(was.snd_wl1(), was.snd_wnd(), was.max_window(), 0,
                                                was.rcv_wup());
  pair_.mover = import_image(image);
  ASSERT_TRUE(pair_.mover);
  send_text(pair_.mover.get(), "moved");
  EXPECT_EQ(read_text(pair_.peer.get(), 5), "moved");
}

TEST_P(QueuesTest, FullQueuesOfBothDirectionsMove) {
  for (int moves = 1; moves <= 3; ++moves) {
    const std::string there = fill_up(peer_.get()), back = fill_up(mover_.get());
    for (int i = 0; i < moves; ++i)
      move(mover_);
    EXPECT_TRUE(read_text(mover_.get(), there.size()) == there);
    EXPECT_TRUE(read_text(peer_.get(), back.size()) == back);
  }
}

TEST_P(QueuesTest, QueuesLargerThanTheDefaultBuffersMove) {
  const int large = 16 << 20;
  for (const int fd : {mover_.get(), peer_.get()})
    for (const int name : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
      if (::setsockopt(fd, SOL_SOCKET, name, &large, sizeof large) != 0)
        GTEST_SKIP() << "no large buffers to be had here";
  const std::string there = fill_up(peer_.get()), back = fill_up(mover_.get());
  EXPECT_GT(back.size(), 8u << 20);
  move(mover_);
  EXPECT_TRUE(read_text(mover_.get(), there.size()) == there);
  EXPECT_TRUE(read_text(peer_.get(), back.size()) == back);
}

// The peer has filled our queue. When we have read it, the peer learns that from the
// window's update, or else from its own probe, after 200 ms or more. On a busy machine
// the reading alone may take as long, so some tries are made.
TEST_P(QueuesTest, ReadingAFullQueueOpensTheWindowWithoutAProbe) {
  long fewest = 1;
  for (int attempt = 0; attempt < 5 && fewest > 0; ++attempt) {
    connect();
    const std::string all = fill_up(peer_.get());
    ASSERT_TRUE(eventually([&] {
      return queued(mover_.get(), SIOCINQ) + queued(peer_.get(), SIOCOUTQ) == all.size();
    }));
    move(mover_);
    const long before = window_probes();
    ASSERT_TRUE(read_text(mover_.get(), all.size()) == all);
    fewest = std::min(fewest, window_probes() - before);
  }
  EXPECT_EQ(fewest, 0);
}

// The same in the other direction: unsent bytes leave as soon as the peer reads.
TEST_P(QueuesTest, UnsentBytesLeaveWithoutAProbeWhenThePeerReads) {
  long fewest = 1;
  for (int attempt = 0; attempt < 5 && fewest > 0; ++attempt) {
    connect();
    const std::string all = fill_up(mover_.get());
    move(mover_);
    const long before = window_probes();
    ASSERT_TRUE(read_text(peer_.get(), all.size()) == all);
    fewest = std::min(fewest, window_probes() - before);
  }
  EXPECT_EQ(fewest, 0);
}

TEST_P(QueuesTest, TheReceiveWindowMayGrowAsFarAsBefore) {
  const int large = 4 << 20;
  if (::setsockopt(peer_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large) != 0)
    GTEST_SKIP() << "no large buffers to be had here";
  const auto may_open = [&] {
    tcp_info info{};
    socklen_t size = sizeof info;
    ::getsockopt(mover_.get(), IPPROTO_TCP, TCP_INFO, &info, &size);
    return info.tcpi_rcv_ssthresh;
  };
  for (int i = 0; i < 200 && may_open() <= 200'000; ++i) {  // autotuning follows the reader
    fill_up(peer_.get());
    while (queued(mover_.get(), SIOCINQ) > 0)
      read_text(mover_.get(), queued(mover_.get(), SIOCINQ));
  }
  const auto before = may_open();
  EXPECT_GT(before, 200'000u);
  move(mover_);
  EXPECT_GE(may_open(), before / 2);
}

}  // namespace
}  // namespace sockmi::tcp
