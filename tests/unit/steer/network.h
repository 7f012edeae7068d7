// A small network inside the test's process: each host is a network namespace that the
// test enters and leaves.
//
//     home .1      near .2                 far .2
//        |            |                       |
//     ---+------------+-----[ router ]--------+
//         10.77.1.0/24           |        10.77.2.0/24
//         fd77:1::/64            |        fd77:2::/64
//                                |
//                                |  10.77.3.0/24, fd77:3::/64; path MTU 1400
//                            client .2
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "base/address.h"
#include "base/unique_fd.h"
#include "steer/nft_steering.h"
#include "steer/packet_marks.h"
#include "unit/user_namespace.h"

namespace sockmi::steer {

inline unique_fd this_namespace() {
  return unique_fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

inline void enter(const unique_fd& name) {
  if (::setns(name.get(), CLONE_NEWNET) != 0) throw std::runtime_error("setns");
}

class Host {
 public:
  Host() {
    const unique_fd before = this_namespace();
    if (::unshare(CLONE_NEWNET) != 0) throw std::runtime_error("unshare");
    namespace_ = this_namespace();
    enter(before);
    run("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0 && ip link "
        "set lo up");
  }
  Host(Host&&) = default;
  ~Host() { stop(); }

  template <class Function>
  auto in(Function function) const {
    struct Return {
      unique_fd to = this_namespace();
      ~Return() { (void)::setns(to.get(), CLONE_NEWNET); }
    } back;
    enter(namespace_);
    return function();
  }
  // Runs a shell command and returns its output. Throws if the command fails.
  std::string run(const std::string& command) const {
    return in([&] {
      FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "r");
      std::string output;
      char buffer[4096];
      for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
        output.append(buffer, got);
      if (::pclose(pipe) != 0) throw std::runtime_error(command + ": " + output);
      return output;
    });
  }
  std::string path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), namespace_.get()); }

  void start(const std::vector<std::string>& interfaces = {"eth0"}) {
    in([&] {
      auto made = make_nft_steering(interfaces);
      if (!made) throw std::runtime_error(to_string(made.error()));
      steering = std::move(*made);
    });
  }
  void stop() {
    if (steering) in([&] { steering.reset(); });
  }

  std::unique_ptr<Steering> steering;

 private:
  unique_fd namespace_;
};

// Without root, the test is root in a user namespace of its own.
inline bool may_make_namespaces() {
  static const bool may = [] {
    if (!test::become_root()) return false;
    const unique_fd before = this_namespace();
    if (::unshare(CLONE_NEWNET) != 0) return false;
    return ::setns(before.get(), CLONE_NEWNET) == 0;
  }();
  return may;
}

struct Network {
  Host router, home, near, far, client;

  Network() {
    router.run("ip link add segment type bridge mcast_snooping 0 && ip link set segment up");
    plug(home, "segment", 1, 1);
    plug(near, "segment", 1, 2);
    plug(far, nullptr, 2, 2);
    plug(client, nullptr, 3, 2);
    router.run(
        "ip addr add 10.77.1.254/24 dev segment && ip addr add fd77:1::fe/64 dev segment nodad");
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    router.run(
        "ip route add 10.77.3.2 dev leg3 mtu lock 1400 && ip -6 route add fd77:3::2 dev leg3 mtu "
        "1400");
    for (Host* host : {&home, &near, &far})
      host->start();
  }
  static IpAddress address(int family, int segment, int number) {
    return *IpAddress::parse(family == AF_INET ? fmt::format("10.77.{}.{}", segment, number)
                                               : fmt::format("fd77:{}::{:x}", segment, number));
  }

 private:
  void plug(Host& host, const char* bridge, int segment, int number) {
    const std::string leg = bridge ? fmt::format("to{}", number) : fmt::format("leg{}", segment);
    router.run(fmt::format("ip link add {} type veth peer name eth0 netns {}", leg, host.path()));
    router.run(bridge ? fmt::format("ip link set {} master {} up", leg, bridge)
                      : fmt::format("ip link set {0} up && ip addr add 10.77.{1}.254/24 dev {0} && "
                                    "ip addr add fd77:{1}::fe/64 dev {0} nodad",
                                    leg, segment));
    host.run(fmt::format(
        "ip addr add 10.77.{0}.{1}/24 dev eth0 && ip addr add fd77:{0}::{1:x}/64 dev eth0 nodad && "
        "ip link set eth0 up && "
        "ip route add default via 10.77.{0}.254 && ip -6 route add default via fd77:{0}::fe",
        segment, number));
  }
};

}  // namespace sockmi::steer
