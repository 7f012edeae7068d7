#include "tcp/socket_info.h"
#include "connection.h"

namespace sockmi::tcp {
namespace {

TEST(SocketInfo, RefusesDescriptorsThatAreNoConnection) {
  const unique_fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      fresh(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      local(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(socket_info(-1).error().code, EBADF);
  EXPECT_EQ(socket_info(file.get()).error().code, ENOTSOCK);
  EXPECT_EQ(socket_info(udp.get()).error().code, EPROTONOSUPPORT);
  EXPECT_EQ(socket_info(local.get()).error().code, EPROTONOSUPPORT);
  EXPECT_EQ(socket_info(fresh.get()).error().code, ENOTCONN);
}

class SocketInfoTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "no network namespace to be had here";
  }
};
INSTANTIATE_TEST_SUITE_P(Families, SocketInfoTest, testing::ValuesIn(kFamilies));

TEST_P(SocketInfoTest, ReturnsStateAndAddresses) {
  Connection pair = Connection::make(GetParam());
  const auto mover = socket_info(pair.mover.get()), peer = socket_info(pair.peer.get()),
             listener = socket_info(pair.listener.get());
  EXPECT_EQ(mover->state, kEstablished);
  EXPECT_EQ(mover->tuple.local, pair.address);
  EXPECT_EQ(mover->tuple.remote, peer->tuple.local);
  EXPECT_EQ(peer->tuple.remote, pair.address);
  EXPECT_NE(mover->cookie, peer->cookie);
  EXPECT_EQ(listener->state, kListen);
  EXPECT_EQ(listener->tuple.local, pair.address);
  EXPECT_FALSE(listener->connected());
}

TEST_P(SocketInfoTest, TellsABoundSocketFromAClosedOne) {
  const SocketAddress any{*IpAddress::parse(GetParam()), 0};
  socklen_t size;
  const auto address = Connection::name(any, size);
  const unique_fd bound(::socket(any.ip.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(bound.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  EXPECT_EQ(socket_info(bound.get())->state, kClose);
  EXPECT_NE(socket_info(bound.get())->tuple.local.port, 0);
  EXPECT_FALSE(socket_info(bound.get())->connected());

  Connection pair = Connection::make(GetParam());
  const linger at_once{1, 0};
  ::setsockopt(pair.peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  pair.peer.reset();  // RST
  ASSERT_TRUE(readable(pair.mover.get()));
  EXPECT_EQ(socket_info(pair.mover.get()).error().code, ENOTCONN);
}

}  // namespace
}  // namespace sockmi::tcp
