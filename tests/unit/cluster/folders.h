// A folder that is removed with the test, and hosts of one cluster in it.
#pragma once

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "cluster/identity.h"

namespace sockmi::cluster::test {

class Cluster : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "sockmi-unit.XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(name.data()));
    folder_ = name;
    ASSERT_TRUE(init_cluster(folder_ / "cluster"));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Identity host(const std::string& name, const std::string& cluster = "cluster") {
    const auto out = folder_ / (cluster + "." + name);
    EXPECT_TRUE(issue_host(folder_ / cluster, name, out));
    auto identity = Identity::load(out);
    EXPECT_TRUE(identity);
    return *identity;
  }

  std::filesystem::path folder_;
};

}  // namespace sockmi::cluster::test
