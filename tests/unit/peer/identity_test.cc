#include <sys/stat.h>

#include "folders.h"

namespace sockmi::peer {
namespace {

using IdentityTest = test::Cluster;

TEST_F(IdentityTest, AHostKnowsItsNameAndTheClustersKey) {
  const auto a = host("hostA"), b = host("hostB");
  EXPECT_EQ(a.host, "hostA");
  EXPECT_EQ(a.cluster_key.size(), 32u);
  EXPECT_EQ(a.cluster_key, b.cluster_key);
}

TEST_F(IdentityTest, KeysAreForTheirOwnerOnly) {
  const auto a = host("hostA");
  for (const auto& key : {folder_ / "cluster" / "ca.key", folder_ / "cluster" / "cluster.key", a.folder / "host.key", a.folder / "cluster.key"}) {
    struct stat status{};
    ASSERT_EQ(::stat(key.c_str(), &status), 0) << key;
    EXPECT_EQ(status.st_mode & 0777, 0600u) << key;
  }
  EXPECT_FALSE(std::filesystem::exists(a.folder / "ca.key"));
}

TEST_F(IdentityTest, NothingIsOverwritten) {
  EXPECT_EQ(init_cluster(folder_ / "cluster").error().code, EEXIST);
  const auto a = host("hostA");
  EXPECT_EQ(issue_host(folder_ / "cluster", "hostA", a.folder).error().code, EEXIST);
}

TEST_F(IdentityTest, AFolderThatIsNoIdentityIsRefused) {
  EXPECT_FALSE(Identity::load(folder_ / "nothing"));
  EXPECT_FALSE(Identity::load(folder_ / "cluster"));
}

}  // namespace
}  // namespace sockmi::peer
