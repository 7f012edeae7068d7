#include "connections/unreachable_hosts.h"

#include <gtest/gtest.h>

namespace sockmi::daemon {
namespace {

constexpr std::chrono::hours kLong{1};

TEST(UnreachableHostsTest, AHostThatAnswersMayAlwaysBeAsked) {
  UnreachableHosts hosts;
  EXPECT_TRUE(hosts.may_ask("B", kLong));
  EXPECT_TRUE(hosts.may_ask("B", kLong));
  EXPECT_FALSE(hosts.contains("B"));
}

TEST(UnreachableHostsTest, AHostIsNewOnce) {
  UnreachableHosts hosts;
  EXPECT_TRUE(hosts.add("B"));
  EXPECT_FALSE(hosts.add("B"));
  EXPECT_TRUE(hosts.contains("B"));
  EXPECT_FALSE(hosts.contains("C"));
}

TEST(UnreachableHostsTest, OneCallerAtATimeAsks) {
  UnreachableHosts hosts;
  hosts.add("B");
  // The pause after the first failure is short, and its end is what this test waits for.
  while (!hosts.may_ask("B", kLong)) {
  }
  EXPECT_FALSE(hosts.may_ask("B", kLong)) << "the first caller has no answer yet";
  EXPECT_TRUE(hosts.erase("B")) << "it has answered";
  EXPECT_TRUE(hosts.may_ask("B", kLong));
  EXPECT_FALSE(hosts.erase("B")) << "it is not unreachable any more";
}

}  // namespace
}  // namespace sockmi::daemon
