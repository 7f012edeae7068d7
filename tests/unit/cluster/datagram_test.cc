#include "cluster/datagram.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "folders.h"

namespace sockmi::cluster {
namespace {

class DatagramTest : public test::Cluster {
 protected:
  void SetUp() override {
    test::Cluster::SetUp();
    a_.emplace(host("hostA"), "10.0.0.1:7078");
    b_.emplace(host("hostB"), "10.0.0.2:7078");
  }
  static wire::DatagramT request() {
    wire::DatagramT datagram;
    datagram.kind = wire::Kind::Request;
    datagram.service = "web";
    return datagram;
  }
  std::optional<Datagrams> a_, b_;
};

TEST_F(DatagramTest, OpenReturnsTheAuthenticatedSender) {
  const auto opened = b_->open(a_->seal(request()));
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->sender, "hostA");
  EXPECT_EQ(opened->control_address, "10.0.0.1:7078");
  EXPECT_EQ(opened->service, "web");
}

TEST_F(DatagramTest, AReplayIsRefused) {
  const Bytes bytes = a_->seal(request());
  ASSERT_TRUE(b_->open(bytes));
  EXPECT_EQ(b_->open(bytes).error().code, EALREADY);
}

TEST_F(DatagramTest, AnyDamageIsRefused) {
  const Bytes good = a_->seal(request());
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Bytes bytes = good;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    EXPECT_EQ(b_->open(bytes).error().code, EBADMSG) << bit;
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_EQ(b_->open(ByteView(good).first(size)).error().code, EBADMSG) << size;
  EXPECT_EQ(b_->open(Bytes(3000)).error().code, EBADMSG);
}

TEST_F(DatagramTest, DatagramsOfAnotherClusterAreRefused) {
  ASSERT_TRUE(init_cluster(folder_ / "other"));
  Datagrams of_other_cluster(host("hostA", "other"), "10.0.0.1:7078");
  EXPECT_EQ(b_->open(of_other_cluster.seal(request())).error().code, EBADMSG);
  // A host that has stolen the key that all hosts share is not accepted, either.
  std::filesystem::copy_file(folder_ / "cluster" / "cluster.key",
                             folder_ / "other.hostA" / "cluster.key",
                             std::filesystem::copy_options::overwrite_existing);
  Datagrams thief(*Identity::load(folder_ / "other.hostA"), "10.0.0.1:7078");
  EXPECT_EQ(b_->open(thief.seal(request())).error().code, EACCES);
}

TEST_F(DatagramTest, AMemberCannotSendInTheNameOfAnother) {
  Identity liar = host("hostC");
  liar.host = "hostA";
  Datagrams datagrams(liar, "10.0.0.1:7078");
  EXPECT_EQ(b_->open(datagrams.seal(request())).error().code, EBADMSG);
}

TEST_F(DatagramTest, AddressesMustBeInTheSendersCertificate) {
  const auto out = folder_ / "hostD";
  ASSERT_TRUE(
      issue_host(folder_ / "cluster", "hostD", out,
                 {.addresses = {*IpAddress::parse("10.0.0.4"), *IpAddress::parse("fd00::4")}}));
  const auto d = *Identity::load(out);
  Datagrams liar(d, "10.0.0.1:7078"), honest(d, "10.0.0.4:7078");
  EXPECT_EQ(b_->open(liar.seal(request())).error().code, EACCES);
  auto said = request();
  said.other_address = "fd00::4";
  EXPECT_EQ(b_->open(honest.seal(said))->other_address, "fd00::4");
  said.other_address = "fd00::5";
  EXPECT_EQ(b_->open(honest.seal(said))->other_address, "");
}

TEST_F(DatagramTest, OnlyTheAddresseeAcceptsItAndOnlyInItsCurrentRun) {
  Datagrams c(host("hostC"), "10.0.0.3:7078");
  auto said = request();
  said.to = "hostB";
  EXPECT_TRUE(b_->open(a_->seal(said)));
  EXPECT_EQ(c.open(a_->seal(said)).error().code, EALREADY);
  said.kind = wire::Kind::Confirm;
  said.to_epoch = b_->epoch();
  const Bytes confirm = a_->seal(said);
  EXPECT_TRUE(b_->open(confirm));
  b_.emplace(*Identity::load(folder_ / "cluster.hostB"), "10.0.0.2:7078");
  EXPECT_EQ(b_->open(confirm).error().code, EALREADY) << "B has restarted";
}

TEST_F(DatagramTest, OldAndNewKeyAreAcceptedDuringARekey) {
  ASSERT_TRUE(rekey_cluster(folder_ / "cluster"));
  Datagrams c(host("hostC"), "10.0.0.3:7078");  // has the new key and the former one
  EXPECT_TRUE(b_->open(c.seal(request())));
  EXPECT_TRUE(c.open(a_->seal(request())));
  ASSERT_TRUE(rekey_cluster(folder_ / "cluster"));
  Datagrams d(host("hostD"), "10.0.0.4:7078");
  EXPECT_TRUE(c.open(d.seal(request())));
  EXPECT_EQ(a_->open(d.seal(request())).error().code, EBADMSG) << "A's key is out of use";
}

TEST_F(DatagramTest, ARevokedHostIsRefused) {
  const Identity b = *Identity::load(folder_ / "cluster.hostB");
  Datagrams hears(b, "10.0.0.2:7078");
  ASSERT_TRUE(hears.open(a_->seal(request())));
  EXPECT_EQ(revoke_host(folder_ / "cluster", "hostA"), 1u);
  std::filesystem::copy_file(folder_ / "cluster" / "crl.pem", b.folder / "crl.pem");
  ASSERT_TRUE(b.replace(*Credentials::load(b.folder)));
  const auto refused = hears.open(a_->seal(request()));
  EXPECT_EQ(refused.error().code, EACCES);
  EXPECT_NE(refused.error().reason.find("revoked"), std::string::npos) << refused.error().reason;
  ASSERT_TRUE(renew_host(folder_ / "cluster", folder_ / "cluster.hostA"));
  Datagrams renewed(*Identity::load(folder_ / "cluster.hostA"), "10.0.0.1:7078");
  EXPECT_TRUE(hears.open(renewed.seal(request())));
}

TEST_F(DatagramTest, AFloodIsLimitedPerSource) {
  const IpAddress loud = *IpAddress::parse("10.0.0.1"), quiet = *IpAddress::parse("10.0.0.3");
  Datagrams hears(*Identity::load(folder_ / "cluster.hostB"), "10.0.0.2:7078", {0.001, 5});
  const Bytes again = a_->seal(request());
  EXPECT_TRUE(hears.open(again, loud));
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(hears.open(again, loud).error().code, EALREADY);
  EXPECT_EQ(hears.open(a_->seal(request()), loud).error().code, EBUSY);
  EXPECT_TRUE(hears.open(a_->seal(request()), quiet));
  // A sender without the cluster's key cannot use up the budget of a member at that
  // address.
  Bytes forged = again;
  forged.back() ^= 1;
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(hears.open(forged, quiet).error().code, EBADMSG);
  EXPECT_TRUE(hears.open(a_->seal(request()), quiet));
}

TEST_F(DatagramTest, AnotherFormatVersionIsReported) {
  const auto credentials = *Credentials::load(folder_ / "cluster.hostA");
  const Secret& key = credentials->cluster_keys()[0];
  const IpAddress source = *IpAddress::parse("10.0.0.7");
  for (const std::uint8_t first :
       {0x1c, 0x03}) {  // version 1 began with an offset; and a version of the future
    Bytes bytes(200, 'x');
    bytes[0] = first;
    unsigned size = 32;
    std::uint8_t mac[32];
    HMAC(EVP_sha256(), key.data(), 32, bytes.data(), bytes.size(), mac, &size);
    EXPECT_EQ(b_->open(bytes, source).error().code, EBADMSG) << "without the cluster key";
    EXPECT_TRUE(first != 0x1c || b_->warnings().empty());
    bytes.insert(bytes.end(), mac, mac + size);
    EXPECT_EQ(b_->open(bytes, source).error().code, EPROTONOSUPPORT);
  }
  ASSERT_EQ(b_->warnings().size(), 1u);
  EXPECT_NE(b_->warnings()[0].find("the daemon at 10.0.0.7 is of a version"), std::string::npos);
}

TEST_F(DatagramTest, OwnDatagramsAreIgnored) {
  EXPECT_EQ(a_->open(a_->seal(request())).error().code, EALREADY);
}

}  // namespace
}  // namespace sockmi::cluster
