// Tests the kernel's own notices, over the loopback.
#include <poll.h>

#include <algorithm>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "net/sock_diag.h"

namespace sockmi::net {
namespace {

struct Pair {
  unique_fd client, server;
  FourTuple tuple;  // as the server sees it
  std::uint64_t cookie = 0;
};

SocketAddress name_of(int fd, int (*name)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(name(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&address));
}

Pair connect_pair() {
  const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof own;
  auto* address = reinterpret_cast<sockaddr*>(&own);
  EXPECT_TRUE(::bind(listener.get(), address, size) == 0 && ::listen(listener.get(), 1) == 0 &&
              ::getsockname(listener.get(), address, &size) == 0);
  Pair pair;
  pair.client = unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(pair.client.get(), address, size), 0);
  pair.server = unique_fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  pair.tuple = {name_of(pair.server.get(), ::getsockname),
                name_of(pair.server.get(), ::getpeername)};
  size = sizeof pair.cookie;
  EXPECT_EQ(::getsockopt(pair.server.get(), SOL_SOCKET, SO_COOKIE, &pair.cookie, &size), 0);
  return pair;
}

TEST(SockDiag, FindSocketFindsALiveConnection) {
  Pair pair = connect_pair();
  const auto found = find_socket(pair.tuple);
  ASSERT_TRUE(found) << to_string(found.error());
  EXPECT_EQ(found->cookie, pair.cookie);
  EXPECT_EQ(found->tuple, pair.tuple);
  FourTuple other = pair.tuple;
  other.remote.port ^= 1;
  EXPECT_EQ(find_socket(other).error().code, ENOENT);
}

void reset(Pair pair) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  EXPECT_EQ(::setsockopt(pair.client.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
}

// The kernel reports ends a little later, to all listeners at the same time.
void wait_for_end(SocketEnds& ends, std::uint64_t cookie) {
  for (bool noticed = false; !noticed;) {
    pollfd readable{.fd = ends.fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1) << "no notice came";
    const auto ended = ends.ended();
    ASSERT_TRUE(ended);
    noticed = std::ranges::find(*ended, cookie, &TcpSocket::cookie) != ended->end();
  }
}

// The kernel reports once that it had no room, and drops notices until the others have
// been read.
TEST(SockDiag, SocketEndsReportsLaterEndsAfterAnOverrun) {
  const auto ends = SocketEnds::open(), witness = SocketEnds::open();
  if (!ends || !witness) GTEST_SKIP() << "wants CAP_NET_ADMIN";
  const int little = 1, much = 1 << 20;  // the kernel raises this to its smallest size
  ASSERT_EQ(::setsockopt((*ends)->fd(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little), 0);
  for (int i = 0; i < 50; ++i) {
    Pair pair = connect_pair();
    const auto cookie = pair.cookie;
    reset(std::move(pair));
    wait_for_end(**witness, cookie);
  }
  EXPECT_EQ((*ends)->ended().error().code, ENOBUFS);
  ASSERT_EQ(::setsockopt((*ends)->fd(), SOL_SOCKET, SO_RCVBUF, &much, sizeof much), 0);
  Pair last = connect_pair();
  const auto cookie = last.cookie;
  reset(std::move(last));
  wait_for_end(**witness, cookie);
  const auto ended = (*ends)->ended();
  ASSERT_TRUE(ended) << to_string(ended.error());
  EXPECT_EQ(std::ranges::count(*ended, cookie, &TcpSocket::cookie), 1);
}

TEST(SockDiag, SocketEndsReportsCookieAndAddresses) {
  const auto ends = SocketEnds::open();
  if (!ends) GTEST_SKIP() << to_string(ends.error());
  Pair pair = connect_pair();
  const auto alive = all_sockets();
  ASSERT_TRUE(alive);
  ASSERT_TRUE(alive->contains(pair.cookie));
  EXPECT_EQ(alive->at(pair.cookie).tuple, pair.tuple);
  pair.client.reset();
  pair.server.reset();
  for (bool noticed = false; !noticed;) {
    pollfd readable{.fd = (*ends)->fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1) << "no notice came";
    const auto ended = (*ends)->ended();
    ASSERT_TRUE(ended);
    for (const TcpSocket& socket : *ended) {
      if (socket.cookie != pair.cookie) continue;
      EXPECT_EQ(socket.tuple, pair.tuple);
      noticed = true;
    }
  }
  EXPECT_FALSE(all_sockets()->contains(pair.cookie));
}

}  // namespace
}  // namespace sockmi::net
