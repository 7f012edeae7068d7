#include "api/quota.h"

#include <vector>

#include <gtest/gtest.h>

namespace sockmi::api {
namespace {

constexpr std::size_t kMostBytes = 64u << 20, kMostBytesOfAll = 256u << 20;
const User kRoot{0, "root"}, kOne{1000, "one"}, kContainer{0, "uid:0 of a container"};

User user(std::uint32_t number) {
  return {2000 + number, ""};
}

std::size_t amount(const Quotas& quotas, Holding what) {
  return quotas.held()[static_cast<std::size_t>(what)];
}

class QuotasTest : public testing::Test {
 protected:
  const std::shared_ptr<Quotas> quotas_ = std::make_shared<Quotas>(800);
};

TEST_F(QuotasTest, AUserMayHoldUpToTheLimit) {
  auto share = quotas_->share_for(kOne);

  EXPECT_TRUE(share.set(Holding::Bytes, kMostBytes));
  EXPECT_EQ(share.set(Holding::Bytes, kMostBytes + 1).error().code, EDQUOT);
}

TEST_F(QuotasTest, ARefusedAmountChangesNothing) {
  auto share = quotas_->share_for(kOne);
  ASSERT_TRUE(share.set(Holding::Bytes, 7));

  EXPECT_FALSE(share.set(Holding::Bytes, kMostBytes + 1));

  EXPECT_EQ(amount(*quotas_, Holding::Bytes), 7u);
}

TEST_F(QuotasTest, TheSessionsOfAUserCountTogether) {
  auto one = quotas_->share_for(kOne), other = quotas_->share_for(kOne);
  ASSERT_TRUE(one.set(Holding::Bytes, kMostBytes - 7));

  EXPECT_TRUE(other.set(Holding::Bytes, 7));
  EXPECT_FALSE(other.set(Holding::Bytes, 8));
}

TEST_F(QuotasTest, AUserAtTheLimitKeepsNobodyOut) {
  auto one = quotas_->share_for(kOne), other = quotas_->share_for(user(1));
  ASSERT_TRUE(one.set(Holding::Bytes, kMostBytes));

  EXPECT_TRUE(other.set(Holding::Bytes, kMostBytes));
}

TEST_F(QuotasTest, AllUsersTogetherHaveALimit) {
  std::vector<Quotas::Share> shares;
  for (std::uint32_t i = 0; i < kMostBytesOfAll / kMostBytes; ++i)
    ASSERT_TRUE(shares.emplace_back(quotas_->share_for(user(i))).set(Holding::Bytes, kMostBytes));

  EXPECT_EQ(quotas_->share_for(kOne).set(Holding::Bytes, 1).error().code, EDQUOT);
}

TEST_F(QuotasTest, RootIsNotCounted) {
  auto share = quotas_->share_for(kRoot);

  EXPECT_TRUE(share.set(Holding::Bytes, 2 * kMostBytesOfAll));

  EXPECT_EQ(amount(*quotas_, Holding::Bytes), 0u);
}

TEST_F(QuotasTest, RootOfAContainerIsCounted) {
  EXPECT_FALSE(quotas_->share_for(kContainer).set(Holding::Bytes, kMostBytes + 1));
}

TEST_F(QuotasTest, ASessionThatEndsReturnsWhatItHolds) {
  {
    auto share = quotas_->share_for(kOne);
    for (const auto what : {Holding::Sessions, Holding::Descriptors, Holding::Bytes})
      ASSERT_TRUE(share.set(what, 3));
  }

  EXPECT_EQ(quotas_->held(), Quotas::Amounts{});
}

TEST_F(QuotasTest, AShareThatIsMovedReturnsWhatItHoldsOnce) {
  {
    auto share = quotas_->share_for(kOne);
    ASSERT_TRUE(share.set(Holding::Sessions, 1));
    const auto moved = std::move(share);
    EXPECT_EQ(amount(*quotas_, Holding::Sessions), 1u);
  }

  EXPECT_EQ(quotas_->held(), Quotas::Amounts{});
}

// A quarter of the descriptors for all users, an eighth for one.
TEST_F(QuotasTest, FewDescriptorsOfTheProcessLowerTheLimits) {
  for (const auto what : {Holding::Sessions, Holding::Descriptors}) {
    auto one = quotas_->share_for(kOne), other = quotas_->share_for(user(1)),
         third = quotas_->share_for(user(2));
    EXPECT_FALSE(one.set(what, 101));
    EXPECT_TRUE(one.set(what, 100));
    EXPECT_TRUE(other.set(what, 100));
    EXPECT_FALSE(third.set(what, 1));
  }
}

}  // namespace
}  // namespace sockmi::api
