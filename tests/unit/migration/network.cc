#include "network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/route.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "steer/packet_marks.h"

namespace sockmi::daemon {
namespace {

unique_fd this_namespace() {
  return unique_fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

void enter_namespace(const unique_fd& name) {
  if (::setns(name.get(), CLONE_NEWNET) != 0) throw std::runtime_error("setns");
}

void run(const std::string& command) {
  if (std::system((command + " >/dev/null").c_str()) != 0) throw std::runtime_error(command);
}

// What steering does on real hosts: a frozen socket's output is dropped, and where there
// is no socket, no RST answers. (An RST with an owner comes from a socket.)
const char* const kRules =
    "nft 'table inet unit {{ chain out {{ type filter hook output priority 0; meta mark {:#x} "
    "drop; tcp flags & rst == rst meta skuid >= 0 accept; tcp flags & rst == rst drop; }}; }}'";

sockaddr_in name_of(const IpAddress& ip, std::uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  std::memcpy(&out.sin_addr, ip.bytes.data(), 4);
  return out;
}

unique_fd listen_at(const sockaddr_in& name) {
  unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
      ::listen(fd.get(), 8) != 0)
    throw std::runtime_error("listen");
  return fd;
}

constexpr std::uint16_t kPort = 8443;

}  // namespace

IpAddress Network::address_of(Place place) {
  return *IpAddress::parse(place == A ? "10.9.1.2" : "10.9.2.2");
}

IpAddress Network::server(int number) {
  return *IpAddress::parse(fmt::format("10.9.100.{}", number + 1));
}

Network* Network::get(std::string& why) {
  static std::string error;
  static const std::unique_ptr<Network> network = [] {
    try {
      return std::unique_ptr<Network>(new Network);
    } catch (const std::exception& thrown) {
      error = thrown.what();
      return std::unique_ptr<Network>();
    }
  }();
  why = error;
  return network.get();
}

Network::Network() {
  const auto make = [] {
    // A starting host reads the whole table of sockets. That of all namespaces together
    // is as large as the machine; one of its own, since Linux 6.1, has this size.
    std::ofstream("/proc/sys/net/ipv4/tcp_child_ehash_entries") << 1024;
    if (::unshare(CLONE_NEWNET) != 0) throw std::runtime_error("unshare: no network namespace");
    run("ip link set lo up && sysctl -qw net.ipv4.conf.all.rp_filter=0 "
        "net.ipv4.conf.default.rp_filter=0");
    return this_namespace();
  };
  for (unique_fd& host : hosts_) {
    host = make();
    run(fmt::format(fmt::runtime(kRules), steer::kFreezeMark));
  }
  client_ = make();
  run("ip addr add 10.9.0.1/32 dev lo");
  for (const Place place : {A, B}) {
    const std::string name = fmt::format("leg{}", int(place)),
                      net = fmt::format("10.9.{}", place + 1);
    run(fmt::format("ip link add {} type veth peer name eth0 netns /proc/{}/fd/{}", name,
                    ::getpid(), hosts_[place].get()));
    run(fmt::format("ip addr add {0}.1/24 dev {1} && ip link set {1} up", net, name));
    enter_namespace(hosts_[place]);
    run(fmt::format(
        "ip addr add {0}.2/24 dev eth0 && ip link set eth0 up && ip route add default via "
        "{0}.1",
        net));
    enter_namespace(client_);
  }
  enter_namespace(hosts_[B]);
  run("ip route add local 10.9.100.0/24 dev lo table 100 && ip rule add pref 1 iif eth0 lookup "
      "100");
  run(fmt::format("ip rule add pref 2 fwmark {:#x} lookup 100", steer::kInjectMark));
  enter_namespace(hosts_[A]);
  for (int i = 0; i < kServers; ++i) {
    run(fmt::format("ip addr add {}/32 dev lo", to_string(server(i))));
    listeners_.push_back(listen_at(name_of(server(i), kPort)));
  }
  enter_namespace(client_);
  for (int i = 0; i < kServers; ++i) {
    routes_.push_back(B);
    run(fmt::format("ip route add {}/32 via {}", to_string(server(i)), to_string(address_of(B))));
    route(i, A);
  }
}

void Network::enter(Place place) const {
  enter_namespace(hosts_[place]);
}

void Network::route(int number, Place to) {
  if (routes_[static_cast<std::size_t>(number)] == to) return;
  const unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto change = [&](Place place, unsigned long request) {
    rtentry entry{};
    const auto name = name_of(server(number), 0), gateway = name_of(address_of(place), 0);
    sockaddr_in mask{};
    mask.sin_family = AF_INET;
    mask.sin_addr.s_addr = 0xffffffff;
    std::memcpy(&entry.rt_dst, &name, sizeof name);
    std::memcpy(&entry.rt_gateway, &gateway, sizeof gateway);
    std::memcpy(&entry.rt_genmask, &mask, sizeof mask);
    entry.rt_flags = RTF_UP | RTF_HOST | RTF_GATEWAY;
    if (::ioctl(any.get(), request, &entry) != 0)
      throw std::runtime_error(fmt::format("route: {}", std::strerror(errno)));
  };
  change(to == A ? B : A, SIOCDELRT);
  change(to, SIOCADDRT);
  routes_[static_cast<std::size_t>(number)] = to;
}

std::pair<unique_fd, unique_fd> Network::connect(int number) {
  route(number, A);
  unique_fd client = connect_to({server(number), kPort});
  unique_fd server(::accept4(listeners_[static_cast<std::size_t>(number)].get(), nullptr, nullptr,
                             SOCK_CLOEXEC));
  return {std::move(server), std::move(client)};
}

std::pair<unique_fd, SocketAddress> Network::listen(int number) {
  const SocketAddress local{server(number), next_port_++};
  enter_namespace(hosts_[A]);
  unique_fd listener = listen_at(name_of(local.ip, local.port));
  enter_namespace(client_);
  return {std::move(listener), local};
}

unique_fd Network::connect_to(const SocketAddress& remote) {
  unique_fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval most{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
  // A port that was never used: the hosts may still have sockets of earlier connections.
  const auto from = name_of(*IpAddress::parse("10.9.0.1"), next_port_++),
             to = name_of(remote.ip, remote.port);
  if (::bind(client.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0 ||
      ::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    throw std::runtime_error(fmt::format("connect: {}", std::strerror(errno)));
  return client;
}

}  // namespace sockmi::daemon
