#include <sys/stat.h>

#include "folders.h"

namespace sockmi::cluster {
namespace {

using IdentityTest = test::Cluster;

TEST_F(IdentityTest, LoadReadsTheNameAndTheClusterKey) {
  const auto a = host("hostA"), b = host("hostB");
  EXPECT_EQ(a.host, "hostA");
  ASSERT_EQ(a.now()->cluster_keys().size(), 1u);
  EXPECT_EQ(a.now()->cluster_keys()[0].size(), 32u);
  EXPECT_EQ(a.now()->cluster_keys(), b.now()->cluster_keys());
}

TEST_F(IdentityTest, KeyFilesAreReadableByTheirOwnerOnly) {
  const auto a = host("hostA");
  for (const auto& key : {folder_ / "cluster" / "ca.key", folder_ / "cluster" / "cluster.key",
                          a.folder / "host.key", a.folder / "cluster.key"}) {
    struct stat status {};
    ASSERT_EQ(::stat(key.c_str(), &status), 0) << key;
    EXPECT_EQ(status.st_mode & 0777, 0600u) << key;
  }
  EXPECT_FALSE(std::filesystem::exists(a.folder / "ca.key"));
}

// A user that can read or replace a key can act as a member.
TEST_F(IdentityTest, AKeyThatOthersCanReadOrReplaceIsRefused) {
  const auto folder = host("hostA").folder;
  const auto refused = [&](const char* why) {
    const auto loaded = Identity::load(folder);
    return !loaded && loaded.error().code == EACCES &&
           loaded.error().reason.find(why) != std::string::npos;
  };
  for (const char* name : {"host.key", "cluster.key"}) {
    const auto key = folder / name;
    for (const mode_t mode : {0604, 0640}) {
      ASSERT_EQ(::chmod(key.c_str(), mode), 0);
      EXPECT_TRUE(refused("can be read by others")) << key << mode;
    }
    for (const mode_t mode : {0602, 0620}) {
      ASSERT_EQ(::chmod(key.c_str(), mode), 0);
      EXPECT_TRUE(refused("can be changed by others")) << key << mode;
    }
    ASSERT_EQ(::chmod(key.c_str(), 0400), 0);
    EXPECT_TRUE(Identity::load(folder));
    if (::chown(key.c_str(), 12345, 12345) == 0) {
      EXPECT_TRUE(refused("belongs to user 12345")) << key;
      ASSERT_EQ(::chown(key.c_str(), 0, 0), 0);
    }
  }
  for (const mode_t mode : {0777, 0770, 01777}) {
    ASSERT_EQ(::chmod(folder.c_str(), mode), 0);
    EXPECT_TRUE(refused("can replace it")) << mode;
  }
  ASSERT_EQ(::chmod(folder.c_str(), 0755), 0);
  EXPECT_TRUE(Identity::load(folder)) << "its names are no secret";
  if (::chown(folder.c_str(), 12345, 12345) == 0) {
    EXPECT_TRUE(refused("belongs to user 12345"));
  }
}

TEST_F(IdentityTest, IssueIgnoresTheUmaskAndRefusesALooseCaKey) {
  const mode_t old = ::umask(0);
  const auto a = host("hostA");
  ::umask(old);
  struct stat status {};
  for (const char* name : {"host.key", "cluster.key"}) {
    ASSERT_EQ(::stat((a.folder / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << name;
  }
  ASSERT_EQ(::chmod((folder_ / "cluster" / "ca.key").c_str(), 0644), 0);
  EXPECT_EQ(issue_host(folder_ / "cluster", "hostB", folder_ / "b").error().code, EACCES);
}

TEST_F(IdentityTest, IssueDoesNotFollowASymlink) {
  std::filesystem::create_directory(folder_ / "c");
  std::filesystem::create_symlink(folder_ / "elsewhere", folder_ / "c" / "cluster.key");
  EXPECT_FALSE(issue_host(folder_ / "cluster", "hostC", folder_ / "c"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "elsewhere"));
}

TEST_F(IdentityTest, InitAndIssueOverwriteNothing) {
  EXPECT_EQ(init_cluster(folder_ / "cluster").error().code, EEXIST);
  const auto a = host("hostA");
  EXPECT_EQ(issue_host(folder_ / "cluster", "hostA", a.folder).error().code, EEXIST);
}

TEST_F(IdentityTest, LoadRefusesAFolderWithoutAnIdentity) {
  EXPECT_FALSE(Identity::load(folder_ / "nothing"));
  EXPECT_FALSE(Identity::load(folder_ / "cluster"));
}

TEST_F(IdentityTest, ExpiredAndSoonExpiringCertificatesAreReported) {
  ASSERT_TRUE(issue_host(folder_ / "cluster", "old", folder_ / "old", {.days = -1}));
  const auto credentials = *Credentials::load(folder_ / "old");
  const auto checked = credentials->check(credentials->certificate());
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().reason.find("old: certificate has expired (on "), std::string::npos)
      << checked.error().reason;
  EXPECT_NE(credentials->warning(), "");
  ASSERT_TRUE(issue_host(folder_ / "cluster", "soon", folder_ / "soon", {.days = 5}));
  EXPECT_NE(
      (*Credentials::load(folder_ / "soon"))->warning().find("this host's certificate expires on"),
      std::string::npos);
  EXPECT_EQ(host("hostA").now()->warning(), "");
}

TEST_F(IdentityTest, ARenewedHostKeepsItsNameAndAddresses) {
  const IpAddress address = *IpAddress::parse("192.0.2.1");
  ASSERT_TRUE(issue_host(folder_ / "cluster", "hostA", folder_ / "a", {.addresses = {address}}));
  const auto before = *Credentials::load(folder_ / "a");
  ASSERT_TRUE(renew_host(folder_ / "cluster", folder_ / "a"));
  const auto after = *Credentials::load(folder_ / "a");
  EXPECT_EQ(after->own().host, "hostA");
  EXPECT_EQ(after->own().addresses, std::vector{address});
  EXPECT_NE(after->certificate_der(), before->certificate_der());
}

TEST_F(IdentityTest, ARevocationListOfAnotherClusterIsRefused) {
  const auto a = host("hostA");
  ASSERT_TRUE(init_cluster(folder_ / "other"));
  ASSERT_TRUE(issue_host(folder_ / "other", "hostB", folder_ / "b"));
  ASSERT_TRUE(revoke_host(folder_ / "other", "hostB"));
  std::filesystem::copy_file(folder_ / "other" / "crl.pem", a.folder / "crl.pem");
  EXPECT_FALSE(Credentials::load(a.folder));
  EXPECT_EQ(revoke_host(folder_ / "cluster", "nobody").error().code, ENOENT);
}

TEST_F(IdentityTest, AnAuthorityIsRotatedAndRetired) {
  const auto cluster = folder_ / "cluster";
  const auto a = host("hostA"), b = host("hostB"), c = host("hostC");
  const auto old = b.now();
  ASSERT_EQ(retire_authority(cluster).error().code, ENOENT);
  ASSERT_TRUE(revoke_host(cluster, "hostC"));
  ASSERT_TRUE(rotate_authority(cluster));
  EXPECT_EQ(rotate_authority(cluster).error().code, EEXIST);
  const auto copy = [&](const char* name) {
    std::filesystem::copy_file(cluster / name, a.folder / name,
                               std::filesystem::copy_options::overwrite_existing);
  };
  copy("ca.crt");
  copy("crl.pem");
  ASSERT_TRUE(renew_host(cluster, b.folder));
  const auto both = *Credentials::load(a.folder), renewed = *Credentials::load(b.folder);
  EXPECT_TRUE(both->check(old->certificate()));
  EXPECT_TRUE(both->check(renewed->certificate())) << "of an authority that has no list yet";
  EXPECT_TRUE(renewed->check(both->certificate()));
  EXPECT_EQ(both->check(c.now()->certificate()).error().code, EACCES) << "it stays revoked";
  EXPECT_FALSE(old->check(renewed->certificate())) << "who does not know the new authority";
  // Certificates of both authorities can be revoked.
  EXPECT_EQ(revoke_host(cluster, "hostB"), 2u);
  copy("crl.pem");
  const auto revoking = *Credentials::load(a.folder);
  EXPECT_EQ(revoking->check(old->certificate()).error().code, EACCES);
  EXPECT_EQ(revoking->check(renewed->certificate()).error().code, EACCES);
  EXPECT_TRUE(revoking->check(a.now()->certificate()));

  ASSERT_TRUE(renew_host(cluster, a.folder));
  ASSERT_TRUE(retire_authority(cluster));
  copy("ca.crt");
  EXPECT_FALSE(Credentials::load(a.folder)) << "with the list of an authority that is unknown now";
  copy("crl.pem");
  const auto alone = *Credentials::load(a.folder);
  EXPECT_TRUE(alone->check(alone->certificate()));
  EXPECT_EQ(alone->check(a.now()->certificate()).error().code, EACCES) << "of the former authority";
  EXPECT_EQ(alone->check(renewed->certificate()).error().code, EACCES) << "it stays revoked";
  EXPECT_TRUE(rotate_authority(cluster));
}

TEST_F(IdentityTest, RevokesByCertificateFileIfThereIsNoRecord) {
  const auto a = host("hostA");
  std::filesystem::remove_all(folder_ / "cluster" / "issued");
  EXPECT_EQ(revoke_host(folder_ / "cluster", "hostA").error().code, ENOENT);
  EXPECT_EQ(revoke_host(folder_ / "cluster", (a.folder / "host.crt").string()), 1u);
  std::filesystem::copy_file(folder_ / "cluster" / "crl.pem", a.folder / "crl.pem");
  const auto credentials = *Credentials::load(a.folder);
  EXPECT_EQ(credentials->check(credentials->certificate()).error().code, EACCES);
  ASSERT_TRUE(init_cluster(folder_ / "other"));
  EXPECT_EQ(revoke_host(folder_ / "other", (a.folder / "host.crt").string()).error().code, EINVAL)
      << "it is another cluster's";
}

TEST_F(IdentityTest, ReplaceRefusesAnotherHostsCredentials) {
  const auto a = host("hostA"), b = host("hostB");
  EXPECT_EQ(a.replace(b.now()).error().code, EINVAL);
}

}  // namespace
}  // namespace sockmi::cluster
