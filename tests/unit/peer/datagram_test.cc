#include "peer/datagram.h"

#include "folders.h"

namespace sockmi::peer {
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

TEST_F(DatagramTest, SaysWhoSentIt) {
  const auto opened = b_->open(a_->seal(request()));
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->sender, "hostA");
  EXPECT_EQ(opened->line, "10.0.0.1:7078");
  EXPECT_EQ(opened->service, "web");
}

TEST_F(DatagramTest, CountsOnce) {
  const Bytes bytes = a_->seal(request());
  ASSERT_TRUE(b_->open(bytes));
  EXPECT_EQ(b_->open(bytes).error().code, EALREADY);
}

TEST_F(DatagramTest, EveryBitAndByteMatters) {
  const Bytes good = a_->seal(request());
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Bytes bytes = good;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    EXPECT_EQ(b_->open(bytes).error().code, EBADMSG) << bit;
  }
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_EQ(b_->open(ByteView(good).first(size)).error().code, EBADMSG) << size;
  EXPECT_EQ(b_->open(Bytes(2000)).error().code, EBADMSG);
}

TEST_F(DatagramTest, AnotherClusterIsNotHeard) {
  ASSERT_TRUE(init_cluster(folder_ / "other"));
  Datagrams stranger(host("hostA", "other"), "10.0.0.1:7078");
  EXPECT_EQ(b_->open(stranger.seal(request())).error().code, EBADMSG);
}

TEST_F(DatagramTest, OurOwnEchoIsNotHeard) { EXPECT_EQ(a_->open(a_->seal(request())).error().code, EALREADY); }

}  // namespace
}  // namespace sockmi::peer
