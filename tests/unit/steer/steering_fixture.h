// Real sockets that move between hosts of a Network, and the fixture for tests of one
// connection between the client and home.
#pragma once

#include <netinet/tcp.h>
#include <poll.h>

#include "network.h"
#include "tcp/capture.h"
#include "tcp/restore.h"

namespace sockmi::steer {

using std::chrono::milliseconds;

inline constexpr std::uint16_t kPort = 8000;
inline constexpr int kPatience = 20'000;  // ms; a test that passes waits far less

inline unique_fd listen_at(const Host& host, const SocketAddress& address,
                           bool transparent = false) {
  return host.in([&] {
    unique_fd fd(::socket(address.ip.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (transparent) ::setsockopt(fd.get(), SOL_IP, IP_TRANSPARENT, &one, sizeof one);
    if (transparent && address.ip.family == AF_INET6)
      ::setsockopt(fd.get(), SOL_IPV6, IPV6_TRANSPARENT, &one, sizeof one);
    sockaddr_storage name;
    const socklen_t size = address.to(name);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), size), 0)
        << std::strerror(errno);
    EXPECT_EQ(::listen(fd.get(), 64), 0);
    return fd;
  });
}

inline bool ready(int fd, short events, int timeout = kPatience) {
  pollfd each{fd, events, 0};
  return ::poll(&each, 1, timeout) == 1;
}

inline unique_fd begin_connect(const Host& host, const SocketAddress& to) {
  return host.in([&] {
    unique_fd fd(::socket(to.ip.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_storage name;
    const socklen_t size = to.to(name);
    (void)::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), size);
    return fd;
  });
}

inline bool connected(const unique_fd& fd, int timeout = kPatience) {
  int error = 0;
  socklen_t size = sizeof error;
  return ready(fd.get(), POLLOUT, timeout) &&
         ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

inline unique_fd accept_from(const unique_fd& listener, int timeout = kPatience) {
  return unique_fd(ready(listener.get(), POLLIN, timeout)
                       ? ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)
                       : -1);
}

inline FourTuple tuple_of_socket(const unique_fd& fd) {
  sockaddr_storage local, remote;
  socklen_t size = sizeof local;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &size);
  size = sizeof remote;
  ::getpeername(fd.get(), reinterpret_cast<sockaddr*>(&remote), &size);
  return {SocketAddress::from(reinterpret_cast<sockaddr*>(&local)),
          SocketAddress::from(reinterpret_cast<sockaddr*>(&remote))};
}

// Sends `size` bytes in one direction and compares them.
inline void expect_flow(const unique_fd& from, const unique_fd& to, std::size_t size) {
  std::string sent(size, '\0'), got;
  for (std::size_t i = 0; i < size; ++i)
    sent[i] = static_cast<char>(i * 2654435761u >> 24);
  std::size_t written = 0;
  std::vector<char> buffer(256 << 10);
  while (got.size() < size) {
    pollfd both[] = {{to.get(), POLLIN, 0},
                     {from.get(), static_cast<short>(written < size ? POLLOUT : 0), 0}};
    ASSERT_GT(::poll(both, 2, kPatience), 0) << "stalled after " << got.size() << " bytes";
    if (both[1].revents) {
      const auto n =
          ::send(from.get(), sent.data() + written, size - written, MSG_NOSIGNAL | MSG_DONTWAIT);
      ASSERT_TRUE(n > 0 || errno == EAGAIN) << std::strerror(errno);
      if (n > 0) written += static_cast<std::size_t>(n);
    }
    if (both[0].revents) {
      const auto n = ::recv(to.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      ASSERT_TRUE(n > 0 || (n < 0 && errno == EAGAIN))
          << "after " << got.size() << " bytes: " << (n ? std::strerror(errno) : "end");
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
inline const Place kNear{"near", 1, &Network::near}, kFar{"far", 2, &Network::far};

class SteeringTest : public testing::TestWithParam<std::tuple<int, Place>> {
 protected:
  void SetUp() override {
    if (!may_make_namespaces()) GTEST_SKIP() << "this user may make no namespaces";
    network.emplace();
    prepare();
    listener = listen_at(network->home, home);
    client = begin_connect(network->client, home);
    server = accept_from(listener);
    ASSERT_TRUE(connected(client));
    ASSERT_TRUE(server);
    tuple = tuple_of_socket(server);
  }
  virtual void prepare() {}  // sets up the hosts, before the connection begins
  int family() const { return std::get<0>(GetParam()); }
  const Place& place() const { return std::get<1>(GetParam()); }
  Host& importer() { return network.value().*place().host; }
  IpAddress importer_address() const { return Network::address(family(), place().segment, 2); }

  // Does what an importer does before it restores.
  void expect(const Host& host, const IpAddress& address) {
    host.in([&] {
      ASSERT_TRUE(host.steering->track(tuple, true));
      if (&host == &network->home) return;
      ASSERT_TRUE(
          host.steering->add_foreign_addresses(std::array<ForeignAddress, 1>{{{tuple, {}}}}));
      const auto routed = host.steering->is_routed(home.ip);
      ASSERT_TRUE(routed);
      EXPECT_EQ(*routed, place().segment != 1);
      if (*routed) {
        ASSERT_TRUE(host.steering->rewrite_destination({&tuple, 1}, address));
      }
    });
  }
  // Moves the socket from its current host. Calls `while_frozen` when both hosts have the
  // socket, frozen.
  template <class Function>
  void move(const Host& host, const IpAddress& address, Function while_frozen) {
    const bool home_again = &host == &network->home;
    const Result<> redirected = home_again ? Result<>() : network->home.in([&] {
      return network->home.steering->redirect(tuple, address, milliseconds(60'000));
    });
    ASSERT_TRUE(redirected) << to_string(redirected.error());
    auto frozen = tcp::FrozenSocket::freeze(server.get(), {kFreezeMark, kInjectMark});
    ASSERT_TRUE(frozen) << to_string(frozen.error());
    auto image = frozen->capture();
    ASSERT_TRUE(image) << to_string(image.error());
    ASSERT_NO_FATAL_FAILURE(expect(host, address));
    auto restored = host.in([&] {
      return tcp::RestoredSocket::restore(*image, {kFreezeMark, kInjectMark}, !home_again);
    });
    ASSERT_TRUE(restored) << to_string(restored.error());
    while_frozen(restored->fd(), *image);
    ASSERT_TRUE(frozen->destroy_silently());
    if (home_again) {
      ASSERT_TRUE(network->home.in([&] { return network->home.steering->remove_redirect(tuple); }));
    }
    auto thawed = std::move(*restored).thaw();
    ASSERT_TRUE(thawed) << to_string(thawed.error());
    server = std::move(*thawed);
    ::fcntl(server.get(), F_SETFL, O_NONBLOCK);
  }
  template <class Function>
  void move(Function while_frozen) {
    move(importer(), importer_address(), while_frozen);
  }
  void move() {
    move([](int, const auto&) {});
  }
  void move_home() {
    move(network->home, home.ip, [](int, const auto&) {});
  }

  std::optional<Network> network;
  const SocketAddress home{Network::address(std::get<0>(GetParam()), 1, 1), kPort};
  unique_fd listener, client, server;
  FourTuple tuple;
};

// Runs a test for importers near and far, with IPv4 and IPv6.
inline auto everywhere() {
  return testing::Combine(testing::Values(AF_INET, AF_INET6), testing::Values(kNear, kFar));
}
template <class... Families>
auto on_homes_link(Families... families) {
  return testing::Combine(testing::Values(families...), testing::Values(kNear));
}
inline std::string name_of(const testing::TestParamInfo<std::tuple<int, Place>>& info) {
  return fmt::format("{}_ipv{}", std::get<1>(info.param).name,
                     std::get<0>(info.param) == AF_INET ? 4 : 6);
}

}  // namespace sockmi::steer
