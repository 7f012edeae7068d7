// Connections move in a real kernel, on a network of namespaces. See network.h for its picture.
#include "steer/steering.h"

#include <netinet/tcp.h>
#include <poll.h>

#include <thread>

#include <gtest/gtest.h>

#include "network.h"
#include "tcp/capture.h"
#include "tcp/inject.h"
#include "tcp/restore.h"

namespace sockmi::steer {
namespace {

using std::chrono::milliseconds;

constexpr std::uint16_t kPort = 8000;
constexpr int kPatience = 20'000;  // ms; a test that works waits for far less

unique_fd listen_at(const Host& host, const SocketAddress& address, bool transparent = false) {
  return host.in([&] {
    unique_fd fd(::socket(address.ip.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (transparent) ::setsockopt(fd.get(), SOL_IP, IP_TRANSPARENT, &one, sizeof one);
    if (transparent && address.ip.family == AF_INET6) ::setsockopt(fd.get(), SOL_IPV6, IPV6_TRANSPARENT, &one, sizeof one);
    sockaddr_storage name;
    const socklen_t size = address.to(name);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), size), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd.get(), 64), 0);
    return fd;
  });
}

bool ready(int fd, short events, int timeout = kPatience) {
  pollfd each{fd, events, 0};
  return ::poll(&each, 1, timeout) == 1;
}

unique_fd begin_connect(const Host& host, const SocketAddress& to) {
  return host.in([&] {
    unique_fd fd(::socket(to.ip.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_storage name;
    const socklen_t size = to.to(name);
    (void)::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), size);
    return fd;
  });
}

bool connected(const unique_fd& fd, int timeout = kPatience) {
  int error = 0;
  socklen_t size = sizeof error;
  return ready(fd.get(), POLLOUT, timeout) && ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

unique_fd accept_from(const unique_fd& listener, int timeout = kPatience) {
  return unique_fd(ready(listener.get(), POLLIN, timeout) ? ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1);
}

FourTuple tuple_of_socket(const unique_fd& fd) {
  sockaddr_storage local, remote;
  socklen_t size = sizeof local;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &size);
  size = sizeof remote;
  ::getpeername(fd.get(), reinterpret_cast<sockaddr*>(&remote), &size);
  return {SocketAddress::from(reinterpret_cast<sockaddr*>(&local)), SocketAddress::from(reinterpret_cast<sockaddr*>(&remote))};
}

// Sends `size` bytes one way and compares.
void expect_flow(const unique_fd& from, const unique_fd& to, std::size_t size) {
  std::string sent(size, '\0'), got;
  for (std::size_t i = 0; i < size; ++i) sent[i] = static_cast<char>(i * 2654435761u >> 24);
  std::size_t written = 0;
  std::vector<char> buffer(256 << 10);
  while (got.size() < size) {
    pollfd both[] = {{to.get(), POLLIN, 0}, {from.get(), static_cast<short>(written < size ? POLLOUT : 0), 0}};
    ASSERT_GT(::poll(both, 2, kPatience), 0) << "stalled after " << got.size() << " bytes";
    if (both[1].revents) {
      const auto n = ::send(from.get(), sent.data() + written, size - written, MSG_NOSIGNAL | MSG_DONTWAIT);
      ASSERT_TRUE(n > 0 || errno == EAGAIN) << std::strerror(errno);
      if (n > 0) written += static_cast<std::size_t>(n);
    }
    if (both[0].revents) {
      const auto n = ::recv(to.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      ASSERT_TRUE(n > 0 || (n < 0 && errno == EAGAIN)) << "after " << got.size() << " bytes: " << (n ? std::strerror(errno) : "end");
      if (n > 0) got.append(buffer.data(), static_cast<std::size_t>(n));
    }
  }
  EXPECT_TRUE(got == sent);
}

struct Place {
  const char* name;
  int segment;
  Host Network::*host;
};
const Place kNear{"near", 1, &Network::near}, kFar{"far", 2, &Network::far};


class Steered : public testing::TestWithParam<std::tuple<int, Place>> {
 protected:
  void SetUp() override {
    if (!may_make_namespaces()) GTEST_SKIP() << "this user may make no namespaces";
    network.emplace();
    listener = listen_at(network->home, home);
    client = begin_connect(network->client, home);
    server = accept_from(listener);
    ASSERT_TRUE(connected(client));
    ASSERT_TRUE(server);
    tuple = tuple_of_socket(server);
  }
  int family() const { return std::get<0>(GetParam()); }
  const Place& place() const { return std::get<1>(GetParam()); }
  Host& importer() { return network.value().*place().host; }
  IpAddress importer_address() const { return Network::address(family(), place().segment, 2); }

  void prepare_importer(const FourTuple& each) {
    importer().in([&] {
      ASSERT_TRUE(importer().steering->shelter(home.ip));
      const auto routed = importer().steering->is_routed(home.ip);
      ASSERT_TRUE(routed);
      EXPECT_EQ(*routed, place().segment != 1);
      if (*routed) {
        ASSERT_TRUE(importer().steering->readdress({&each, 1}, importer_address()));
      }
    });
  }
  // Home to importer; `while_frozen` runs when both hosts have the socket, frozen.
  template <class Function>
  void move(Function while_frozen) {
    const auto redirected = network->home.in([&] { return network->home.steering->redirect(tuple, importer_address(), milliseconds(60'000)); });
    ASSERT_TRUE(redirected) << to_string(redirected.error());
    auto frozen = tcp::Frozen::freeze(server.get(), kFreezeMark);
    ASSERT_TRUE(frozen) << to_string(frozen.error());
    auto image = frozen->capture();
    ASSERT_TRUE(image) << to_string(image.error());
    prepare_importer(tuple);
    auto restored = importer().in([&] { return tcp::Restored::restore(*image, kFreezeMark, true); });
    ASSERT_TRUE(restored) << to_string(restored.error());
    while_frozen(restored->fd(), *image);
    ASSERT_TRUE(frozen->kill());
    server.reset();
    auto thawed = std::move(*restored).thaw();
    ASSERT_TRUE(thawed) << to_string(thawed.error());
    server = std::move(*thawed);
    ::fcntl(server.get(), F_SETFL, O_NONBLOCK);
  }
  void move() {
    move([](int, const auto&) {});
  }

  std::optional<Network> network;
  const SocketAddress home{Network::address(std::get<0>(GetParam()), 1, 1), kPort};
  unique_fd listener, client, server;
  FourTuple tuple;
};

INSTANTIATE_TEST_SUITE_P(Everywhere, Steered, testing::Combine(testing::Values(AF_INET, AF_INET6), testing::Values(kNear, kFar)),
                         [](const auto& info) { return fmt::format("{}_ipv{}", std::get<1>(info.param).name, std::get<0>(info.param) == AF_INET ? 4 : 6); });

TEST_P(Steered, AMovedConnectionGoesOnBothWays) {
  expect_flow(client, server, 100'000);
  ASSERT_NO_FATAL_FAILURE(move());
  expect_flow(client, server, 3'000'000);  // big segments
  expect_flow(server, client, 3'000'000);  // by a narrow leg: "too big" has to come to the importer
}

TEST_P(Steered, AFrozenSocketReceivesAndSaysNothing) {
  // What it has received while frozen is in its queue afterwards, though the peer never heard that it came.
  move([&](int frozen, const auto&) {
    const auto sent = ::send(client.get(), "while frozen", 12, 0);
    ASSERT_EQ(sent, 12);
    ASSERT_TRUE(ready(frozen, POLLIN)) << "it is deaf";
    tcp_info info{};
    socklen_t size = sizeof info;
    ASSERT_EQ(::getsockopt(client.get(), SOL_TCP, TCP_INFO, &info, &size), 0);
    EXPECT_EQ(info.tcpi_unacked, 1u) << "it spoke";
  });
  char got[32];
  ASSERT_EQ(::recv(server.get(), got, sizeof got, 0), 12);
  EXPECT_EQ(std::string(got, 12), "while frozen");
  expect_flow(client, server, 1000);
}

TEST_P(Steered, AnInjectedSegmentReachesAFrozenSocketHereWhoseAddressIsElsewhere) {
  move([&](int frozen, const auto& image) {
    const std::string text = "injected";
    const tcp::Segment segment{.tuple = tuple, .seq = image.rcv_seq, .ack = image.snd_seq - std::uint32_t(image.send_queue.size()), .window = 100, .fin = false,
                               .data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}};
    const auto injected = importer().in([&] { return tcp::inject(segment, kInjectMark); });
    ASSERT_TRUE(injected) << to_string(injected.error());
    EXPECT_TRUE(ready(frozen, POLLIN));
  });
  char got[32];
  EXPECT_EQ(::recv(server.get(), got, sizeof got, 0), 8);
}

TEST_P(Steered, TheImporterDoesNotClaimHomesAddress) {
  if (place().segment != 1) GTEST_SKIP() << "not on home's segment";
  ASSERT_NO_FATAL_FAILURE(move());
  // Home is unplugged, so that nobody else can answer.
  network->router.run("ip link set to1 down");
  network->router.run(family() == AF_INET ? "ip neigh flush dev segment; ! ping -c 1 -W 1 10.77.1.1" : "ip neigh flush dev segment; ! ping -c 1 -W 1 fd77:1::1");
  EXPECT_EQ(network->router.run("ip neigh show dev segment").find("10.77.1.1 lladdr"), std::string::npos);
  EXPECT_EQ(network->router.run("ip neigh show dev segment").find("fd77:1::1 lladdr"), std::string::npos);
}

TEST_P(Steered, AListenersPortMovesWhileItsOlderConnectionsStay) {
  const auto redirected = network->home.in([&] { return network->home.steering->redirect_port(home, importer_address(), {&tuple, 1}); });
  ASSERT_TRUE(redirected) << to_string(redirected.error());
  importer().in([&] {
    ASSERT_TRUE(importer().steering->shelter(home.ip));
    if (place().segment != 1) {
      ASSERT_TRUE(importer().steering->readdress_port(home, importer_address()));
    }
  });
  const unique_fd moved = listen_at(importer(), home, true);
  const unique_fd newcomer = begin_connect(network->client, home);
  const unique_fd accepted = accept_from(moved);
  ASSERT_TRUE(connected(newcomer));
  ASSERT_TRUE(accepted);
  expect_flow(newcomer, accepted, 1'000'000);
  expect_flow(accepted, newcomer, 1'000'000);
  expect_flow(client, server, 1000);  // stays

  ASSERT_TRUE(network->home.in([&] { return network->home.steering->remove_port_redirect(home); }));
  const unique_fd at_home = begin_connect(network->client, home);
  EXPECT_TRUE(accept_from(listener));
  EXPECT_EQ(network->home.run("nft list table netdev sockmi").find("elements = { 10.77.1.1"), std::string::npos);
}

TEST_P(Steered, WhoConnectsToAHeldPortWaitsForAnAnswer) {
  ASSERT_TRUE(network->home.in([&] { return network->home.steering->hold_port(home, milliseconds(60'000)); }));
  const unique_fd newcomer = begin_connect(network->client, home);
  EXPECT_FALSE(connected(newcomer, 200));
  expect_flow(client, server, 1000);  // an old one is not held
  ASSERT_TRUE(network->home.in([&] { return network->home.steering->release_port(home); }));
  EXPECT_TRUE(connected(newcomer));
}

TEST_P(Steered, ConnectionsThatOnlyTheirHomesTellApartAreRefused) {
  importer().in([&] {
    Steering& steering = *importer().steering;
    FourTuple other = tuple;
    other.local.ip = Network::address(family(), 1, 77);
    ASSERT_TRUE(steering.readdress({&tuple, 1}, importer_address()));
    EXPECT_TRUE(steering.readdress({&tuple, 1}, importer_address())) << "the same again";
    EXPECT_EQ(steering.readdress({&other, 1}, importer_address()).error().code, EADDRINUSE);
    ASSERT_TRUE(steering.remove_readdress({&tuple, 1}, importer_address(), milliseconds(0)));
    EXPECT_TRUE(steering.readdress({&other, 1}, importer_address()));
  });
}

TEST_P(Steered, NothingIsLeftBehind) {
  ASSERT_NO_FATAL_FAILURE(move());
  for (Host* host : {&network->home, &importer()}) {
    host->stop();
    EXPECT_EQ(host->run("nft list ruleset"), "");
    EXPECT_EQ(host->run("ip rule; ip -6 rule").find("29547"), std::string::npos);
    EXPECT_EQ(host->run("ip route show table 29547 2>/dev/null; ip -6 route show table 29547 2>/dev/null; true"), "");
  }
}

TEST_P(Steered, TenThousandAreOneCall) {
  std::vector<Redirect> all;
  for (int i = 0; i < 10'000; ++i) {
    Redirect each{tuple, importer_address(), milliseconds(60'000)};
    each.tuple.remote.port = std::uint16_t(20'000 + i);
    all.push_back(each);
  }
  network->home.in([&] {
    Steering& steering = *network->home.steering;
    const auto put = steering.redirect(all);
    ASSERT_TRUE(put) << to_string(put.error());
    EXPECT_EQ(steering.redirects()->size(), all.size());
    for (Redirect& each : all) each.expires_in.reset();
    ASSERT_TRUE(steering.redirect(all)) << "replaced";
    const auto now = steering.redirects();
    ASSERT_EQ(now->size(), all.size());
    EXPECT_FALSE(now->front().expires_in);
    std::vector<FourTuple> tuples;
    for (const Redirect& each : all) tuples.push_back(each.tuple);
    ASSERT_TRUE(steering.remove_redirects(tuples));
    EXPECT_EQ(steering.redirects()->size(), 0u);
  });
}

TEST_P(Steered, ARedirectThatHasExpiredIsPutInAnew) {
  network->home.in([&] {
    Steering& steering = *network->home.steering;
    for (int i = 0; i < 50; ++i) {  // around the moment of its end, too
      ASSERT_TRUE(steering.redirect(tuple, importer_address(), milliseconds(10)));
      std::this_thread::sleep_for(milliseconds(5 + i % 10));
    }
    ASSERT_TRUE(steering.redirect(tuple, importer_address(), std::nullopt));
    EXPECT_EQ(steering.redirects()->size(), 1u);
  });
}

}  // namespace
}  // namespace sockmi::steer
