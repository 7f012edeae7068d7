// Tests hosts with rules of their own: what these rules let pass, and what host_checks.cc
// has to warn of.
#include <algorithm>

#include "steer/host_checks.h"
#include "steering_fixture.h"

namespace sockmi::steer {
namespace {

constexpr const char* kFirewall = R"(nft -f - <<'END'
table inet firewall {
  chain in {
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
    ct state invalid drop
    meta l4proto { icmp, ipv6-icmp } accept
    tcp dport 8000 tcp flags & (syn|ack) == syn accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
  }
  chain out {
    type filter hook output priority 0; policy accept;
    ct state invalid drop
  }
}
END
)";

class SteeringWithNftFirewall : public SteeringTest {
 protected:
  void prepare() override {
    for (Host* host : {&network->home, &importer()}) {
      host->run(protection());
      host->run("sysctl -qw net.ipv4.conf.all.rp_filter=1");
    }
  }
  virtual const char* protection() const { return kFirewall; }
};

INSTANTIATE_TEST_SUITE_P(Everywhere, SteeringWithNftFirewall, everywhere(), name_of);

TEST_P(SteeringWithNftFirewall, AMovedConnectionPassesAtBothHostsAndAfterItsReturn) {
  ASSERT_NO_FATAL_FAILURE(move());
  expect_flow(client, server, 1'000'000);
  expect_flow(server, client, 1'000'000);  // over a narrow path: ICMP errors must count as related
  ASSERT_NO_FATAL_FAILURE(move_home());
  expect_flow(client, server, 1'000'000);
  expect_flow(server, client, 1'000'000);
  ASSERT_NO_FATAL_FAILURE(move());
  expect_flow(client, server, 1'000'000);
}

// The same rules, written for iptables.
class SteeringWithIptables : public SteeringWithNftFirewall {
 protected:
  const char* protection() const override {
    return "for each in iptables ip6tables; do $each -A INPUT -i lo -j ACCEPT && $each -A INPUT -m "
           "conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT && "
           "$each -A INPUT -p tcp --syn --dport 8000 -j ACCEPT && $each -P INPUT DROP && $each -P "
           "FORWARD DROP || exit 1; done; "
           "ip6tables -I INPUT -p icmpv6 -j ACCEPT";
  }
};

INSTANTIATE_TEST_SUITE_P(Everywhere, SteeringWithIptables, everywhere(), name_of);

TEST_P(SteeringWithIptables, AMovedConnectionPasses) {
  ASSERT_NO_FATAL_FAILURE(move());
  expect_flow(client, server, 1'000'000);
  expect_flow(server, client, 1'000'000);
}

bool warned(const Host& host, const std::vector<std::string>& interfaces, const std::string& of) {
  const auto lines = host.in([&] { return warnings(interfaces); });
  return std::ranges::any_of(
      lines, [&](const std::string& line) { return line.find(of) != std::string::npos; });
}

TEST_P(SteeringWithNftFirewall, AMovedConnectionPassesWithoutLooseTracking) {
  importer().run("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0");
  ASSERT_NO_FATAL_FAILURE(move());
  expect_flow(client, server, 100'000);
  expect_flow(server, client, 100'000);
}

// Home and the importer share a link that is not the one by which the peers' packets
// arrive.
class SteeringOverSecondLink : public SteeringTest {
 protected:
  void prepare() override {
    Host &one = network->home, &two = importer();
    one.run("ip link add eth1 type veth peer name eth1 netns " + two.path());
    one.run(
        "ip addr add 10.77.9.1/24 dev eth1 && ip addr add fd77:9::1/64 dev eth1 nodad && ip link "
        "set eth1 up");
    two.run(
        "ip addr add 10.77.9.2/24 dev eth1 && ip addr add fd77:9::2/64 dev eth1 nodad && ip link "
        "set eth1 up");
    for (Host* host : {&one, &two}) {
      host->stop();
      host->start({"eth0", "eth1"});
    }
  }
};

INSTANTIATE_TEST_SUITE_P(OnHomesLink, SteeringOverSecondLink, on_homes_link(AF_INET, AF_INET6),
                         name_of);

TEST_P(SteeringOverSecondLink, RedirectsLeaveByTheImportersInterface) {
  ASSERT_NO_FATAL_FAILURE(
      move(importer(), Network::address(family(), 9, 2), [](int, const auto&) {}));
  expect_flow(client, server, 1'000'000);
  expect_flow(server, client, 1'000'000);
}

class SteeringOverSecondLinkIpv4 : public SteeringOverSecondLink {
};  // IPv6 does not have such a filter

INSTANTIATE_TEST_SUITE_P(OnHomesLink, SteeringOverSecondLinkIpv4, on_homes_link(AF_INET), name_of);

TEST_P(SteeringOverSecondLinkIpv4, HostChecksWarnOfAStrictReversePathFilter) {
  EXPECT_FALSE(warned(importer(), {"eth0", "eth1"}, "rp_filter"));
  importer().run("sysctl -qw net.ipv4.conf.eth1.rp_filter=1");
  ASSERT_NO_FATAL_FAILURE(
      move(importer(), Network::address(family(), 9, 2), [](int, const auto&) {}));
  ASSERT_EQ(::send(client.get(), "lost", 4, 0), 4);
  EXPECT_FALSE(ready(server.get(), POLLIN, 300)) << "it works: no need to warn";
  EXPECT_TRUE(warned(importer(), {"eth0", "eth1"}, "eth1.rp_filter"));
}

}  // namespace
}  // namespace sockmi::steer
