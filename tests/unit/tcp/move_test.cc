// Sockets move inside one network namespace of the test's own: captured, killed silently, and made again.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "tcp/capture.h"
#include "tcp/inspect.h"
#include "tcp/restore.h"

namespace sockmi::tcp {
namespace {

constexpr std::uint32_t kMark = 0x5e;  // no rule knows it here

bool enter_namespace() {
  const auto uid = ::getuid();
  if (::unshare(CLONE_NEWNET) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
  }
  const unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq up{};
  std::strcpy(up.ifr_name, "lo");
  up.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(any.get(), SIOCSIFFLAGS, &up) == 0;
}

class Move : public testing::Test {
 protected:
  void SetUp() override {
    static const bool entered = enter_namespace();
    if (!entered) GTEST_SKIP() << "no network namespace to be had here";
    const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    peer_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(peer_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    mover_.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(mover_);
  }

  image::TcpT capture() {
    auto frozen = Frozen::freeze(mover_.get(), kMark);
    auto image = frozen ? frozen->capture() : pass(std::move(frozen));
    EXPECT_TRUE(image && frozen->kill());
    return image ? std::move(*image) : image::TcpT();
  }

  void restore(const image::TcpT& image) {
    mover_.reset();
    auto restored = Restored::restore(image, kMark, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    auto live = std::move(*restored).thaw();
    ASSERT_TRUE(live) << to_string(live.error());
    mover_ = std::move(*live);
  }

  static void say(int fd, const std::string& text) { ASSERT_EQ(::send(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size())); }
  static std::string hear(int fd, std::size_t size) {
    std::string text(size, 0);
    const ssize_t got = ::recv(fd, text.data(), size, MSG_WAITALL);
    return text.substr(0, static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  }

  unique_fd mover_, peer_;
};

TEST_F(Move, BothWaysWorkAfterwards) {
  restore(capture());
  say(peer_.get(), "ping");
  EXPECT_EQ(hear(mover_.get(), 4), "ping");
  say(mover_.get(), "pong");
  EXPECT_EQ(hear(peer_.get(), 4), "pong");
}

TEST_F(Move, UnreadBytesTravel) {
  const std::string text(40'000, 'u');
  say(peer_.get(), text);
  ASSERT_EQ(::recv(mover_.get(), std::string(text.size(), 0).data(), text.size(), MSG_PEEK | MSG_WAITALL), static_cast<ssize_t>(text.size()));
  const auto image = capture();
  EXPECT_EQ(image.receive_queue.size(), text.size());
  restore(image);
  EXPECT_EQ(hear(mover_.get(), text.size()), text);
}

TEST_F(Move, UnsentBytesTravel) {
  // The peer does not read: what its window does not take stays with the mover.
  std::string all;
  for (;;) {
    const std::string piece(10'000, static_cast<char>('a' + all.size() / 10'000 % 26));
    const ssize_t sent = ::send(mover_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (sent < 0) break;
    all.append(piece, 0, static_cast<std::size_t>(sent));
  }
  const auto image = capture();
  EXPECT_GT(image.send_queue.size(), 100'000u);
  restore(image);
  EXPECT_TRUE(hear(peer_.get(), all.size()) == all);
}

TEST_F(Move, TenMovesInARow) {
  for (int i = 0; i < 10; ++i) {
    restore(capture());
    say(peer_.get(), "a");
    say(mover_.get(), "b");
    EXPECT_EQ(hear(mover_.get(), 1) + hear(peer_.get(), 1), "ab");
  }
}

TEST_F(Move, OptionsTravel) {
  const int one = 1, seconds = 77, mark = 0;
  ::setsockopt(mover_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ::setsockopt(mover_.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  ::setsockopt(mover_.get(), IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
  restore(capture());
  const auto value = [&](int level, int name) {
    int out = -1;
    socklen_t size = sizeof out;
    ::getsockopt(mover_.get(), level, name, &out, &size);
    return out;
  };
  EXPECT_EQ(value(IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(value(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(value(IPPROTO_TCP, TCP_KEEPIDLE), seconds);
  EXPECT_EQ(value(SOL_SOCKET, SO_MARK), mark);
  EXPECT_EQ(value(SOL_SOCKET, SO_REUSEADDR), 0);
}

TEST_F(Move, BuffersDoNotGrowWithTheMoves) {
  const auto size_of = [&](int name) {
    int out = -1;
    socklen_t size = sizeof out;
    ::getsockopt(mover_.get(), SOL_SOCKET, name, &out, &size);
    return out;
  };
  const std::string piece(100'000, 'x');
  std::vector<int> sizes;
  for (int i = 0; i < 6; ++i) {
    while (::send(mover_.get(), piece.data(), piece.size(), MSG_DONTWAIT) > 0) {
    }
    while (::send(peer_.get(), piece.data(), piece.size(), MSG_DONTWAIT) > 0) {
    }
    const int send_buffer = size_of(SO_SNDBUF), receive_buffer = size_of(SO_RCVBUF);
    restore(capture());
    EXPECT_LE(size_of(SO_SNDBUF), send_buffer);
    EXPECT_LE(size_of(SO_RCVBUF), receive_buffer + receive_buffer / 2);
    sizes.push_back(size_of(SO_RCVBUF));
  }
  EXPECT_LE(sizes.back(), 2 * sizes.front());
}

TEST_F(Move, GivenBackItIsAsItWas) {
  {
    auto frozen = Frozen::freeze(mover_.get(), kMark);
    ASSERT_TRUE(frozen);
    ASSERT_TRUE(frozen->capture());
    EXPECT_EQ(Frozen::freeze(mover_.get(), kMark).error().code, EBUSY) << "by two at once";
  }
  say(peer_.get(), "ping");
  EXPECT_EQ(hear(mover_.get(), 4), "ping");
  say(mover_.get(), "pong");
  EXPECT_EQ(hear(peer_.get(), 4), "pong");
}

TEST_F(Move, AStragglerIsNoticed) {
  auto frozen = Frozen::freeze(mover_.get(), kMark);
  ASSERT_TRUE(frozen);
  const auto image = frozen->capture();
  ASSERT_TRUE(image);
  EXPECT_EQ(frozen->still_stands(*image), true);
  say(peer_.get(), "straggler");  // no rule keeps it out here
  pollfd arrived{mover_.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&arrived, 1, 10'000), 1);
  EXPECT_EQ(frozen->still_stands(*image), false);
}

TEST_F(Move, AClosingConnectionStays) {
  ::shutdown(peer_.get(), SHUT_WR);
  char byte;
  ASSERT_EQ(::recv(mover_.get(), &byte, 1, 0), 0);
  EXPECT_EQ(Frozen::freeze(mover_.get(), kMark).error().code, ENOTSUP);
}

TEST_F(Move, UrgentDataStays) {
  ASSERT_EQ(::send(peer_.get(), "!", 1, MSG_OOB), 1);
  char byte;
  // Its arrival is what SIOCATMARK and the like tell; a byte behind it is read as soon as both are there.
  say(peer_.get(), "x");
  ASSERT_EQ(::recv(mover_.get(), &byte, 1, MSG_PEEK), 1);
  EXPECT_EQ(Frozen::freeze(mover_.get(), kMark).error().code, ENOTSUP);
}

TEST_F(Move, AnImageThatCanNotBeIsRefused) {
  const auto good = capture();
  const auto refused = [&](auto change) {
    image::TcpT image = good;
    change(image);
    const auto restored = Restored::restore(image, kMark, false);
    return restored ? 0 : restored.error().code;
  };
  EXPECT_EQ(refused([](auto& i) { i.window.reset(); }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.local_ip.push_back(0); }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.remote_port = 0; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.unsent = 1; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.snd_wscale = 15; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.mss = 0; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.state = 8; }), EBADMSG);
  restore(good);
}

TEST(Inspect, SaysWhyADescriptorIsNoConnection) {
  const unique_fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC)), udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      fresh(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), local(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(inspect(-1).error().code, EBADF);
  EXPECT_EQ(inspect(file.get()).error().code, ENOTSOCK);
  EXPECT_EQ(inspect(udp.get()).error().code, EPROTONOSUPPORT);
  EXPECT_EQ(inspect(local.get()).error().code, EPROTONOSUPPORT);
  EXPECT_EQ(inspect(fresh.get()).error().code, ENOTCONN);
}

}  // namespace
}  // namespace sockmi::tcp
