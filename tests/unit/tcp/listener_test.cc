#include "tcp/listener.h"
#include "connection.h"
#include "tcp/socket_info.h"

namespace sockmi::tcp {
namespace {

class ListenerTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "no network namespace to be had here";
    address_ = {*IpAddress::parse(GetParam()), 0};
    listener_ = Connection::listen(address_, 5);
  }

  // Moves the socket as to another host: the first one is gone.
  static unique_fd moved(unique_fd socket) {
    const auto image = capture_passive(socket.get());
    EXPECT_TRUE(image) << to_string(image.error());
    socket.reset();
    return made(*image);
  }
  static unique_fd made(const wire::TcpT& image) {
    auto restored = restore_passive(image, false);
    EXPECT_TRUE(restored) << to_string(restored.error());
    return restored ? std::move(*restored) : unique_fd();
  }
  unique_fd accept() {
    return unique_fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

  SocketAddress address_;
  unique_fd listener_;
};

INSTANTIATE_TEST_SUITE_P(Families, ListenerTest, testing::ValuesIn(kFamilies));

TEST_P(ListenerTest, ARestoredListenerKeepsItsOptionsAndAccepts) {
  const int seconds = 7, size = 400, mark = 9;
  ::setsockopt(listener_.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
  ::setsockopt(listener_.get(), IPPROTO_TCP, TCP_MAXSEG, &size, sizeof size);
  ::setsockopt(listener_.get(), IPPROTO_TCP, TCP_FASTOPEN, &seconds, sizeof seconds);
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark);
  const int deferred = value_of(listener_.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT);
  listener_ = moved(std::move(listener_));
  EXPECT_EQ(socket_info(listener_.get())->state, kListen);
  EXPECT_EQ(socket_info(listener_.get())->tuple.local, address_);
  EXPECT_EQ(capture_passive(listener_.get())->backlog, 5u);
  EXPECT_EQ(value_of(listener_.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT), deferred);
  EXPECT_EQ(value_of(listener_.get(), IPPROTO_TCP, TCP_MAXSEG), size);
  EXPECT_EQ(value_of(listener_.get(), IPPROTO_TCP, TCP_FASTOPEN), seconds);
  EXPECT_EQ(value_of(listener_.get(), SOL_SOCKET, SO_MARK), mark);
  EXPECT_EQ(value_of(listener_.get(), SOL_SOCKET, SO_REUSEADDR), 1);
  EXPECT_EQ(value_of(listener_.get(), IPPROTO_TCP, TCP_REPAIR), 0);
  const unique_fd client = Connection::connect(address_);
  send_text(client.get(), "x");
  EXPECT_EQ(read_text(accept().get(), 1), "x");
}

TEST_P(ListenerTest, AListenerMovesWhileItsConnectionsLive) {
  const unique_fd client = Connection::connect(address_);
  unique_fd server = accept();
  move(server);
  listener_ = moved(std::move(listener_));
  const unique_fd second = Connection::connect(address_);
  const unique_fd second_server = accept();
  send_text(client.get(), "1");
  send_text(second.get(), "2");
  EXPECT_EQ(read_text(server.get(), 1) + read_text(second_server.get(), 1), "12");
}

// Both kinds move in this order: the listener first.
TEST_P(ListenerTest, WithoutReuseAddressTheListenerIsRestoredFirst) {
  const int off = 0;
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
  const unique_fd client = Connection::connect(address_);
  unique_fd server = accept();
  const auto listening = capture_passive(listener_.get());
  ASSERT_TRUE(listening);
  const auto connected = export_image(server);
  listener_.reset();
  listener_ = made(*listening);
  server = import_image(connected);
  EXPECT_EQ(value_of(listener_.get(), SOL_SOCKET, SO_REUSEADDR), 0);
  EXPECT_EQ(value_of(server.get(), SOL_SOCKET, SO_REUSEADDR), 0);
  send_text(client.get(), "x");
  EXPECT_EQ(read_text(server.get(), 1), "x");
}

TEST_P(ListenerTest, ABoundSocketIsRestoredNextToConnections) {
  const int off = 0;
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
  const unique_fd client = Connection::connect(address_);
  const unique_fd server = accept();
  const auto image = capture_passive(listener_.get());
  ASSERT_TRUE(image);
  listener_.reset();
  auto bound = *image;
  bound.state = kClose;
  const unique_fd socket = moved(made(bound));
  EXPECT_EQ(socket_info(socket.get())->state, kClose);
  EXPECT_EQ(socket_info(socket.get())->tuple.local, address_);
  EXPECT_EQ(value_of(socket.get(), SOL_SOCKET, SO_REUSEADDR), 0);
}

TEST_P(ListenerTest, TheWildcardAddressAndV6OnlyMove) {
  if (address_.ip.family != AF_INET6) GTEST_SKIP();
  for (const int only : {0, 1}) {
    unique_fd socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    ASSERT_EQ(::listen(socket.get(), 3), 0);
    const auto before = socket_info(socket.get());
    socket = moved(std::move(socket));
    EXPECT_EQ(socket_info(socket.get())->tuple.local, before->tuple.local);
    EXPECT_EQ(value_of(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY), only);
  }
}

TEST_P(ListenerTest, DrainAcceptQueueTakesAllWaitingConnections) {
  std::vector<unique_fd> clients;
  for (int i = 0; i < 4; ++i)
    clients.push_back(Connection::connect(address_));
  for (auto& client : clients)
    send_text(client.get(), "x");
  const auto waiting = drain_accept_queue(listener_.get());
  ASSERT_TRUE(waiting);
  EXPECT_EQ(waiting->size(), clients.size());
  for (const auto& connection : *waiting)
    EXPECT_EQ(read_text(connection.get(), 1), "x");
  EXPECT_EQ(::fcntl(listener_.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(drain_accept_queue(listener_.get())->size(), 0u);
  EXPECT_FALSE(drain_accept_queue(clients[0].get()));
}

TEST_P(ListenerTest, RestoreRefusesImpossibleImages) {
  const auto good = capture_passive(listener_.get());
  const auto refused = [&](auto change) {
    wire::TcpT image = *good;
    change(image);
    const auto restored = restore_passive(image, false);
    return restored ? 0 : restored.error().code;
  };
  EXPECT_EQ(refused([](auto& i) { i.state = kEstablished; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.local_ip.push_back(0); }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.local_port = 0; }), EBADMSG);
  EXPECT_EQ(refused([](auto& i) { i.send_queue = {1}; }), EBADMSG);
  Connection pair = Connection::make(GetParam());
  EXPECT_EQ(capture_passive(pair.mover.get()).error().code, EISCONN);
}

}  // namespace
}  // namespace sockmi::tcp
