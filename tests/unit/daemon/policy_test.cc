#include "context/policy.h"

#include <gtest/gtest.h>

namespace sockmi::daemon {
namespace {

using Users = std::vector<std::string>;

const User alice{1000, "alice"}, bob{1001, "bob"}, www{33, "www"}, backup{34, "backup"},
    root{0, "root"};

TEST(Policy, TheDefaultPolicyHasOneServiceForTheSameUser) {
  const Policy policy;
  EXPECT_TRUE(policy.may_export("default", alice));
  EXPECT_TRUE(policy.may_have("default", alice, alice));
  EXPECT_FALSE(policy.may_have("default", bob, alice));
  EXPECT_TRUE(policy.may_have("default", root, alice));
  EXPECT_EQ(policy.may_export("web", root).error().code, ENOENT);
}

TEST(Policy, AUserIsTheSameOnlyIfNumberAndNameAgree) {
  const Policy policy;
  EXPECT_FALSE(policy.may_have("default", {1002, "alice"}, alice)) << "another host's alice";
  EXPECT_FALSE(policy.may_have("default", {1000, "carol"}, alice)) << "another host's user 1000";
}

TEST(Policy, RootIsUserZeroNamedRootAlone) {
  const Policy policy({{"web", {.exporters = Users{}, .importers = Users{}, .listen = {}}}});
  EXPECT_FALSE(policy.may_export("web", {1000, "root"}));
  EXPECT_FALSE(policy.may_have("web", {0, "uid:0 of a container"}, alice));
}

TEST(Policy, OnlyListedUsersMayExportAndImport) {
  const Policy policy(
      {{"web", {.exporters = Users{"www"}, .importers = Users{"www", "backup"}, .listen = {}}},
       {"open", {.exporters = Users{"*"}, .importers = Users{"*"}, .listen = {}}}});
  EXPECT_TRUE(policy.may_export("web", www));
  EXPECT_EQ(policy.may_export("web", bob).error().code, EACCES);
  EXPECT_EQ(policy.may_import("web", bob).error().code, EACCES);
  EXPECT_TRUE(policy.may_have("web", backup, www));
  EXPECT_FALSE(policy.may_have("web", bob, bob));
  EXPECT_TRUE(policy.may_have("open", bob, alice));
}

TEST(Policy, AnEmptyListAllowsRootAlone) {
  const Policy policy({{"web", {.exporters = Users{}, .importers = Users{}, .listen = {}}}});
  EXPECT_FALSE(policy.may_export("web", www));
  EXPECT_TRUE(policy.may_export("web", root));
}

TEST(Policy, AServiceListensOnlyAtItsListedAddresses) {
  const SocketAddress port = *SocketAddress::parse("10.0.0.1:8443"),
                      other = *SocketAddress::parse("10.0.0.1:8444");
  const Policy policy(
      {{"web", {.exporters = {}, .importers = {}, .listen = {{port}}}}, {"open", {}}});
  EXPECT_TRUE(policy.may_listen("web", www, port));
  EXPECT_EQ(policy.may_listen("web", www, other).error().code, EACCES);
  EXPECT_TRUE(policy.may_listen("web", root, other));
  EXPECT_TRUE(policy.may_listen("open", www, other));
}

}  // namespace
}  // namespace sockmi::daemon
