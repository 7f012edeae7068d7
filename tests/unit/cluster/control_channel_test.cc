// Tests the control channel of two daemons over loopback, in one event loop.
#include "cluster/control_channel.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <boost/asio/detached.hpp>

#include "cluster/control_connection.h"
#include "folders.h"

namespace sockmi::cluster {
namespace {

using namespace std::chrono_literals;

class ControlChannelTest : public test::Cluster {
 protected:
  // Returns a port that is free now; the listener takes it immediately.
  SocketAddress free_address() {
    asio::ip::tcp::acceptor probe(io_, {asio::ip::make_address("127.0.0.1"), 0});
    return {*IpAddress::parse("127.0.0.1"), probe.local_endpoint().port()};
  }
  static asio::awaitable<Secret> echo(AuthenticatedHost, Secret message) { co_return message; }

  std::unique_ptr<ControlChannel> start(const Identity& identity, const SocketAddress& at,
                                        ControlChannel::Handler handler = echo) {
    auto transfer = ControlChannel::open(io_, identity, at, std::move(handler));
    EXPECT_TRUE(transfer);
    return std::move(*transfer);
  }

  // Runs one call to its end.
  Result<Secret> call(ControlChannel& from, std::string host, const SocketAddress& to,
                      Secret message, std::chrono::milliseconds timeout = 5s) {
    Result<Secret> result = fail(EINVAL, "not run");
    asio::co_spawn(
        io_,
        [&]() -> asio::awaitable<void> {
          result = co_await from.call(host, to, std::move(message), timeout);
        },
        [this](std::exception_ptr) { io_.stop(); });
    io_.restart();
    io_.run();
    return result;
  }

  asio::io_context io_;
};

TEST_F(ControlChannelTest, AMessageOfAnySizeIsAnswered) {
  const auto a_at = free_address(), b_at = free_address();
  const auto a = start(host("hostA"), a_at), b = start(host("hostB"), b_at);
  for (const std::size_t size : {0u, 1u, 16384u, 1u << 20, 5'000'001u}) {
    const Secret message(size, 'm');
    const auto answer = call(*a, "hostB", b_at, message);
    ASSERT_TRUE(answer) << size << ": " << to_string(answer.error());
    EXPECT_TRUE(*answer == message) << size;
  }
  EXPECT_TRUE(a->connected("hostB"));
}

// A host whose peer does not read stops answering: requests and answers wait only up to a
// limit.
TEST_F(ControlChannelTest, AHostThatDoesNotReadIsNotAnsweredWithoutLimit) {
  constexpr std::uint64_t kAsked = 4000;
  constexpr std::size_t kSize = 8000;
  std::uint64_t handled = 0, answered = 0;
  const auto identity = host("hostA");
  const auto b_at = free_address();
  const auto b =
      start(host("hostB"), b_at, [&](AuthenticatedHost, Secret message) -> asio::awaitable<Secret> {
        ++handled;
        co_return message;
      });
  const auto contexts = *Contexts::make(identity.now());
  const auto connection = std::make_shared<ControlConnection>(asio::ip::tcp::socket(io_), contexts,
                                                              asio::ssl::stream_base::client);
  const auto ask = [&]() -> asio::awaitable<void> {
    EXPECT_TRUE(co_await connection->connect(b_at.ip, b_at));
    EXPECT_TRUE(co_await connection->handshake("hostB"));
    for (std::uint64_t i = 0; i < kAsked; ++i)
      connection->send(pack(i, false, Secret(kSize, 'm')));
  };
  asio::co_spawn(io_, ask(), asio::detached);
  while (handled == 0 && io_.run_one_for(60s) > 0) {
  }
  for (std::uint64_t before = 0; handled != before;) {  // until it handles no more
    before = handled;
    io_.run_for(1s);
  }
  EXPECT_GT(handled, 0u);
  EXPECT_LT(handled, kAsked);
  const auto read = [&]() -> asio::awaitable<void> {
    while (answered < kAsked) {
      const auto frame = co_await connection->receive();
      if (!frame) break;
      ++answered;
    }
    io_.stop();
  };
  asio::co_spawn(io_, read(), asio::detached);
  io_.run();
  EXPECT_EQ(answered, kAsked);
  connection->close();
}

// Otherwise a member could have this host keep the begun messages of all its connections.
TEST_F(ControlChannelTest, AMemberSendsOneLargeMessageAtATime) {
  constexpr std::size_t kSize = 20 << 20, kBegun = 10 << 20;
  std::size_t handled = 0;
  const auto identity = host("hostA");
  const auto b_at = free_address();
  const auto b =
      start(host("hostB"), b_at, [&](AuthenticatedHost, Secret message) -> asio::awaitable<Secret> {
        handled += message.size();
        co_return Secret();
      });
  const auto contexts = *Contexts::make(identity.now());
  std::vector<std::shared_ptr<ControlConnection>> connections;
  const auto run = [&](const std::function<asio::awaitable<void>()>& step) {
    bool over = false;
    asio::co_spawn(io_, step(), [&](std::exception_ptr) { over = true; });
    io_.restart();
    for (const auto end = std::chrono::steady_clock::now() + 20s;
         !over && std::chrono::steady_clock::now() < end;)
      io_.run_one_for(100ms);
    return over;
  };
  const auto begin = [&]() -> asio::awaitable<void> {
    const auto connection = connections.emplace_back(std::make_shared<ControlConnection>(
        asio::ip::tcp::socket(io_), contexts, asio::ssl::stream_base::client));
    EXPECT_TRUE(co_await connection->connect(b_at.ip, b_at));
    EXPECT_TRUE(co_await connection->handshake("hostB"));
    auto frame = pack(1, false, Secret(kSize, 'm'));
    frame[1].resize(kBegun);
    connection->send(std::move(frame));
  };
  const auto is_closed = [&]() -> asio::awaitable<void> {
    const auto frame = co_await connections.front()->receive();
    EXPECT_FALSE(frame);
  };
  const auto finish = [&]() -> asio::awaitable<void> {
    std::array<Secret, 2> rest;
    rest[0] = Secret(kSize - kBegun, 'm');
    connections.back()->send(std::move(rest));
    const auto frame = co_await connections.back()->receive();
    EXPECT_TRUE(frame);
  };

  ASSERT_TRUE(run(begin) && run(begin));

  EXPECT_TRUE(run(is_closed)) << "the first connection still holds its message";
  EXPECT_TRUE(run(finish));
  EXPECT_EQ(handled, kSize);
  for (const auto& connection : connections)
    connection->close();
}

TEST_F(ControlChannelTest, TheHandlerGetsTheAuthenticatedHost) {
  std::string asked;
  const auto a_at = free_address(), b_at = free_address();
  const auto a = start(host("hostA"), a_at);
  const auto b =
      start(host("hostB"), b_at, [&](AuthenticatedHost from, Secret) -> asio::awaitable<Secret> {
        asked = from.host;
        co_return Secret();
      });
  ASSERT_TRUE(call(*a, "hostB", b_at, {}));
  EXPECT_EQ(asked, "hostA");
}

TEST_F(ControlChannelTest, AHostThatClaimsAnothersNameIsRefused) {
  const auto a_at = free_address(), b_at = free_address();
  const auto a = start(host("hostA"), a_at), b = start(host("hostB"), b_at);
  EXPECT_FALSE(call(*a, "hostC", b_at, {1}));
}

TEST_F(ControlChannelTest, AHostOfAnotherClusterIsNotServed) {
  ASSERT_TRUE(init_cluster(folder_ / "other"));
  bool asked = false;
  const auto a_at = free_address(), b_at = free_address();
  const auto of_other_cluster = start(host("hostA", "other"), a_at);
  const auto b =
      start(host("hostB"), b_at, [&](AuthenticatedHost, Secret) -> asio::awaitable<Secret> {
        asked = true;
        co_return Secret();
      });
  EXPECT_FALSE(call(*of_other_cluster, "hostB", b_at, {1}));
  EXPECT_FALSE(asked);
}

TEST_F(ControlChannelTest, AClosedPortIsAnImmediateError) {
  const auto a_at = free_address(), nobody = free_address();
  const auto a = start(host("hostA"), a_at);
  EXPECT_EQ(call(*a, "hostB", nobody, {1}).error().code, EHOSTUNREACH);
}

TEST_F(ControlChannelTest, AMissingAnswerIsATimeout) {
  const auto a_at = free_address(), b_at = free_address();
  const auto a = start(host("hostA"), a_at);
  const auto b =
      start(host("hostB"), b_at, [&](AuthenticatedHost, Secret) -> asio::awaitable<Secret> {
        asio::steady_timer never(io_, asio::steady_timer::time_point::max());
        co_await never.async_wait(asio::use_awaitable);
        co_return Secret();
      });
  EXPECT_EQ(call(*a, "hostB", b_at, {1}, 100ms).error().code, ETIMEDOUT);
}

// The kernel accepts the connection for a host that sends nothing, so the control
// connection never opens.
TEST_F(ControlChannelTest, ACallTimesOutWhileItsConnectionOpens) {
  const auto a = start(host("hostA"), free_address());
  asio::ip::tcp::acceptor silent(io_, {asio::ip::make_address("127.0.0.1"), 0});
  const SocketAddress at{*IpAddress::parse("127.0.0.1"), silent.local_endpoint().port()};
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(call(*a, "hostB", at, {1}, 100ms).error().code, ETIMEDOUT);
  // While the control connection is being opened.
  EXPECT_EQ(call(*a, "hostB", at, {1}, 100ms).error().code, ETIMEDOUT);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s);
}

TEST_F(ControlChannelTest, CallsDuringConnectShareOneConnection) {
  const auto b_at = free_address();
  const auto a = start(host("hostA"), free_address()), b = start(host("hostB"), b_at);
  int answered = 0;
  for (std::uint8_t i = 0; i < 3; ++i)
    asio::co_spawn(
        io_,
        [&, i]() -> asio::awaitable<void> {
          const auto answer = co_await a->call("hostB", b_at, Secret(1, i), 5s);
          EXPECT_TRUE(answer && *answer == Secret(1, i));
          if (++answered == 3) io_.stop();
        },
        [](std::exception_ptr) {});
  io_.run();
  EXPECT_EQ(answered, 3);
}

// --- unauthenticated connections and their certificates ---

TEST_F(ControlChannelTest, SilentUnauthenticatedConnectionsDoNotBlockAMember) {
  const auto a_at = free_address(), b_at = free_address();
  const auto a = start(host("hostA"), a_at), b = start(host("hostB"), b_at);
  b->set_member_addresses(
      [](const IpAddress& address) { return address == *IpAddress::parse("127.0.0.1"); });
  std::vector<asio::ip::tcp::socket> silent;
  for (int i = 0; i < 64; ++i) {
    auto& socket = silent.emplace_back(io_);
    socket.open(asio::ip::tcp::v4());
    socket.bind({asio::ip::make_address("127.0.0." + std::to_string(2 + i)), 0});
    socket.connect({asio::ip::make_address("127.0.0.1"), b_at.port});
  }
  const auto answer = call(*a, "hostB", b_at, {1});
  EXPECT_TRUE(answer) << to_string(answer.error());
}

TEST_F(ControlChannelTest, BothAddressesMustBeInTheCertificates) {
  const auto a_at = free_address(), b_at = free_address();
  ASSERT_TRUE(issue_host(folder_ / "cluster", "hostC", folder_ / "hostC",
                         {.addresses = {*IpAddress::parse("192.0.2.3")}}));
  const auto a = start(host("hostA"), a_at), c = start(*Identity::load(folder_ / "hostC"), b_at);
  const auto answer = call(*a, "hostC", b_at, {1});
  EXPECT_EQ(answer.error().code, EACCES);
  EXPECT_FALSE(call(*c, "hostA", a_at, {1})) << "neither the one who calls";
}

TEST_F(ControlChannelTest, TheConnectionOfARevokedHostIsClosed) {
  const auto a_at = free_address(), b_at = free_address();
  const Identity b_is = host("hostB");
  const auto a = start(host("hostA"), a_at), b = start(b_is, b_at);
  ASSERT_TRUE(call(*a, "hostB", b_at, {1}));
  ASSERT_EQ(revoke_host(folder_ / "cluster", "hostA"), 1u);
  std::filesystem::copy_file(folder_ / "cluster" / "crl.pem", b_is.folder / "crl.pem");
  ASSERT_TRUE(b_is.replace(*Credentials::load(b_is.folder)));
  io_.restart();
  for (const auto end = std::chrono::steady_clock::now() + 5s;
       a->connected("hostB") && std::chrono::steady_clock::now() < end;)
    io_.run_one_for(100ms);
  EXPECT_FALSE(a->connected("hostB"));
  EXPECT_FALSE(call(*a, "hostB", b_at, {1}, 2s));
}

TEST_F(ControlChannelTest, AMembersUnansweredRequestsAreBounded) {
  const auto a_at = free_address(), b_at = free_address();
  std::size_t asked = 0;
  const auto a = start(host("hostA"), a_at);
  const auto b =
      start(host("hostB"), b_at, [&](AuthenticatedHost, Secret) -> asio::awaitable<Secret> {
        ++asked;
        asio::steady_timer never(io_, asio::steady_timer::time_point::max());
        co_await never.async_wait(asio::use_awaitable);
        co_return Secret();
      });
  for (int i = 0; i < 200; ++i)
    asio::co_spawn(
        io_,
        [&]() -> asio::awaitable<void> { (void)co_await a->call("hostB", b_at, Secret(1), 1s); },
        [](std::exception_ptr) {});
  (void)call(*a, "hostB", b_at, {1}, 1s);
  EXPECT_EQ(asked, 64u);
}

}  // namespace
}  // namespace sockmi::cluster
