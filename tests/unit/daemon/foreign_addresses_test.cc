// The rules of foreign connections are written for many of them together, and not while
// their messages arrive.
#include "connections/foreign_addresses.h"

#include <gtest/gtest.h>

#include "test_host.h"

namespace sockmi::daemon {
namespace {

using std::chrono::milliseconds;

class Written : public FakeSteering {
 public:
  explicit Written(std::vector<std::vector<steer::ForeignAddress>>& transactions)
      : transactions_(transactions) {}
  Result<> add_foreign_addresses(std::span<const steer::ForeignAddress> addresses) override {
    transactions_.emplace_back(addresses.begin(), addresses.end());
    return {};
  }

 private:
  std::vector<std::vector<steer::ForeignAddress>>& transactions_;
};

class ForeignAddressesTest : public testing::Test {
 protected:
  static FourTuple connection(std::uint16_t port) {
    return {{*IpAddress::parse("192.0.2.1"), 443}, {*IpAddress::parse("192.0.2.9"), port}};
  }

  boost::asio::io_context io_;
  std::vector<std::vector<steer::ForeignAddress>> transactions_;
  TestFolder folder_;
  TestHost host_{io_, {}, folder_.path, std::make_unique<Written>(transactions_)};
  ForeignAddresses addresses_{host_.services};
};

TEST_F(ForeignAddressesTest, AddsOfOneMomentAreOneLaterTransaction) {
  boost::asio::post(io_, [&] {  // as a message is answered
    for (const std::uint16_t port : {1, 2, 3})
      addresses_.add(connection(port));
    EXPECT_TRUE(transactions_.empty());
  });
  io_.run();
  ASSERT_EQ(transactions_.size(), 1u);
  EXPECT_EQ(transactions_.front().size(), 3u);
}

TEST_F(ForeignAddressesTest, AnAddDroppedBeforeItIsWrittenExpiresByItself) {
  addresses_.add(connection(1));
  addresses_.drop(connection(1), milliseconds(500));
  io_.run();
  ASSERT_EQ(transactions_.size(), 1u);
  ASSERT_EQ(transactions_.front().size(), 1u);
  EXPECT_EQ(transactions_.front().front().expires_in, milliseconds(500));
  EXPECT_FALSE(addresses_.has(connection(1)));
}

}  // namespace
}  // namespace sockmi::daemon
