// Tests against a fake kernel: what is sent, and how its answers are handled.
#include "steer/nft_sets.h"

#include <gtest/gtest.h>

#include "fake_kernel.h"

namespace sockmi::steer {
namespace {

using Seen = std::vector<std::string>;
using std::chrono::milliseconds;

const SetName kSet{.family = 5, .table = "sockmi", .set = "redirect"};
const Change kPut{Change::What::Put, &kSet, {.key = {1, 2, 3, 4}, .data = {9}, .expires_in = {}}};
const Change kRemove{
    Change::What::Remove, &kSet, {.key = {1, 2, 3, 4}, .data = {}, .expires_in = {}}};

std::vector<Change> many(std::uint16_t count) {
  std::vector<Change> changes;
  for (std::uint16_t i = 0; i < count; ++i)
    changes.push_back(
        {Change::What::Put,
         &kSet,
         {.key = {std::uint8_t(i >> 8), std::uint8_t(i), 0, 0}, .data = {9}, .expires_in = {}}});
  return changes;
}

struct NftSetsTest : testing::Test {
  Result<> apply(const Change& change) { return sets.apply({&change, 1}); }
  FakeKernel kernel;
  Sets sets{kernel};
};

TEST_F(NftSetsTest, ANewElementIsOneChangeAndAReplacementIsOneTransaction) {
  ASSERT_TRUE(apply(kPut));
  ASSERT_TRUE(apply(kPut));
  EXPECT_EQ(kernel.seen, (Seen{"+", "-+"}));
}

TEST_F(NftSetsTest, ManyChangesAreOneTransaction) {
  ASSERT_TRUE(sets.apply(many(1000)));
  EXPECT_EQ(kernel.seen, Seen{std::string(1000, '+')});
}

TEST_F(NftSetsTest, AnExpiredElementIsAddedWithoutARemoval) {
  Change brief = kPut;
  brief.element.expires_in = milliseconds(0);
  ASSERT_TRUE(apply(brief));
  ASSERT_TRUE(apply(kPut));
  EXPECT_EQ(kernel.seen, (Seen{"+", "+"}));
}

TEST_F(NftSetsTest, AnOutdatedViewIsReadAgainAndTheChangeRepeated) {
  ASSERT_TRUE(apply(kPut));
  kernel.answers = {ENOENT};
  kernel.dumps = 0;
  EXPECT_TRUE(apply(kPut));
  EXPECT_EQ(kernel.dumps, 1);
  EXPECT_EQ(kernel.seen, (Seen{"+", "-+", "+"}));
}

// The fake kernel's sets are empty when they are read.
TEST_F(NftSetsTest, RestoreAddsMissingElementsThatHaveNotExpired) {
  Change brief = kPut;
  brief.element.key = {5, 6, 7, 8};
  brief.element.expires_in = milliseconds(0);
  ASSERT_TRUE(apply(kPut));
  ASSERT_TRUE(apply(brief));
  const auto restored = sets.restore();
  ASSERT_TRUE(restored);
  EXPECT_EQ(*restored, 1u);
  EXPECT_EQ(kernel.seen, (Seen{"+", "+", "+"}));
}

TEST_F(NftSetsTest, RestoreLeavesOutElementsThatRulesRemove) {
  const SetName removed_by_rules{
      .family = 5, .table = "sockmi", .set = "ended", .removed_by_rules = true};
  Change put = kPut;
  put.set = &removed_by_rules;
  ASSERT_TRUE(apply(put));
  EXPECT_EQ(sets.restore().value_or(9), 0u);
  EXPECT_EQ(kernel.seen, Seen{"+"});
}

TEST_F(NftSetsTest, AFailedRestoreIsRepeated) {
  ASSERT_TRUE(apply(kPut));
  kernel.answers = {EPERM};
  EXPECT_FALSE(sets.restore());
  EXPECT_EQ(sets.restore().value_or(9), 1u);
  EXPECT_EQ(kernel.seen, (Seen{"+", "+", "+"}));
}

TEST_F(NftSetsTest, RemovingAMissingElementIsNoError) {
  EXPECT_TRUE(apply(kRemove));
  EXPECT_TRUE(kernel.seen.empty());
  ASSERT_TRUE(apply(kPut));
  kernel.answers = {ENOENT};
  EXPECT_TRUE(apply(kRemove));
}

TEST_F(NftSetsTest, OtherErrorsAreReturned) {
  kernel.answers = {EPERM};
  EXPECT_EQ(apply(kPut).error().code, EPERM);
}

TEST_F(NftSetsTest, ALargeChangeIsSplitAndRolledBackAsAWhole) {
  kernel.size = 64 << 10;  // 252 elements
  ASSERT_TRUE(apply(many(1)[0]));
  kernel.answers = {0, EPERM};
  EXPECT_EQ(sets.apply(many(300)).error().code, EPERM);
  ASSERT_EQ(kernel.seen.size(), 4u);
  EXPECT_EQ(kernel.seen[1], "-" + std::string(252, '+'));
  EXPECT_EQ(kernel.seen[2], std::string(48, '+'));
  EXPECT_EQ(kernel.seen[3], std::string(252, '-') + "+")
      << "the one that was there before is put back";
}

}  // namespace
}  // namespace sockmi::steer
