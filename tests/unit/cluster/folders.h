// A fixture: a folder of its own, and hosts of one cluster in it.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "cluster/identity.h"
#include "unit/temporary_folder.h"

namespace sockmi::cluster::test {

class Cluster : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(init_cluster(folder_ / "cluster")); }

  Identity host(const std::string& name, const std::string& cluster = "cluster") {
    const auto out = folder_ / (cluster + "." + name);
    EXPECT_TRUE(issue_host(folder_ / cluster, name, out));
    auto identity = Identity::load(out);
    EXPECT_TRUE(identity);
    return *identity;
  }

  const sockmi::test::TemporaryFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
};

}  // namespace sockmi::cluster::test
