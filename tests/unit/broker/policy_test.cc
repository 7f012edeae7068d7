#include "broker/policy.h"

#include <gtest/gtest.h>

namespace sockmi::broker {
namespace {

using Users = std::vector<std::string>;

TEST(Policy, WithoutConfigurationThereIsOneServiceForTheSameUser) {
  const Policy policy;
  EXPECT_TRUE(policy.may_export("default", "alice"));
  EXPECT_TRUE(policy.may_have("default", "alice", "alice"));
  EXPECT_FALSE(policy.may_have("default", "bob", "alice"));
  EXPECT_TRUE(policy.may_have("default", "root", "alice"));
  EXPECT_EQ(policy.may_export("web", "root").error().code, ENOENT);
}

TEST(Policy, NamesWhoMay) {
  const Policy policy({{"web", {.exporters = Users{"www"}, .importers = Users{"www", "backup"}}}, {"open", {.exporters = Users{"*"}, .importers = Users{"*"}}}});
  EXPECT_TRUE(policy.may_export("web", "www"));
  EXPECT_EQ(policy.may_export("web", "bob").error().code, EACCES);
  EXPECT_EQ(policy.may_import("web", "bob").error().code, EACCES);
  EXPECT_TRUE(policy.may_have("web", "backup", "www"));
  EXPECT_FALSE(policy.may_have("web", "bob", "bob"));
  EXPECT_TRUE(policy.may_have("open", "bob", "alice"));
}

TEST(Policy, AnEmptyListIsNobodyButRoot) {
  const Policy policy({{"web", {.exporters = Users{}, .importers = Users{}}}});
  EXPECT_FALSE(policy.may_export("web", "www"));
  EXPECT_TRUE(policy.may_export("web", "root"));
}

}  // namespace
}  // namespace sockmi::broker
