// A query about many connections is made once, and in the network namespace of the
// caller.
#include "steer/kernel_queries.h"

#include <algorithm>

#include <linux/netlink.h>

#include "net/thread_netlink.h"
#include "network.h"

namespace sockmi::steer {
namespace {

class KernelQueriesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_make_namespaces()) GTEST_SKIP() << "this user may make no namespaces";
    one_.emplace(), other_.emplace();
  }
  static bool has(KernelQueries& kernel, const char* address) {
    const auto all = kernel.addresses();
    return all && std::ranges::find(**all, *IpAddress::parse(address), &net::HostAddress::ip) !=
                      (*all)->end();
  }
  static net::Netlink* route_socket() {
    return net::thread_netlink(NETLINK_ROUTE).value_or(nullptr);
  }

  std::optional<Host> one_, other_;
};

TEST_F(KernelQueriesTest, OneSocketIsOpenedPerNamespace) {
  net::Netlink *first = one_->in(route_socket), *there = other_->in(route_socket),
               *again = one_->in(route_socket);
  ASSERT_TRUE(first);
  EXPECT_EQ(first, again);
  EXPECT_NE(first, there);
}

TEST_F(KernelQueriesTest, AnswersAreOfTheCallersNamespace) {
  other_->run("ip addr add 192.0.2.7/32 dev lo");
  KernelQueries here, there;
  EXPECT_FALSE(one_->in([&] { return has(here, "192.0.2.7"); }));
  EXPECT_TRUE(other_->in([&] { return has(there, "192.0.2.7"); }));
}

TEST_F(KernelQueriesTest, ChangesAreSeenByLaterQueriesOnly) {
  const IpAddress host = *IpAddress::parse("198.51.100.1");
  one_->in([&] {
    KernelQueries before;
    EXPECT_FALSE(before.route_to(host));
    one_->run("ip route add 198.51.100.0/24 dev lo mtu 1300");
    EXPECT_FALSE(before.route_to(host)) << "the question was asked before";
    KernelQueries now;
    const auto route = now.route_to(host);
    ASSERT_TRUE(route) << to_string(route.error());
    EXPECT_EQ(route->mtu, 1300u);
    // Another source interface may have another route.
    EXPECT_FALSE(now.route_to(host, {.interface = 4711}));
  });
}

}  // namespace
}  // namespace sockmi::steer
