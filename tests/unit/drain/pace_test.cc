#include "drain/pace.h"

#include <limits>

#include <gtest/gtest.h>

namespace sockmi::daemon {
namespace {

using std::chrono::milliseconds;

TEST(FreezeTimesTest, PercentilesAreExactToAClass) {
  FreezeTimes times;
  for (int i = 1; i <= 1000; ++i)
    times.add(i);

  EXPECT_EQ(times.count(), 1000u);
  EXPECT_NEAR(static_cast<double>(times.percentile(0.5)), 500, 35);
  EXPECT_NEAR(static_cast<double>(times.percentile(0.99)), 990, 65);
}

TEST(FreezeTimesTest, SmallDurationsAreExact) {
  FreezeTimes times;
  for (const int value : {3, 7, 15})
    times.add(value);

  EXPECT_EQ(times.percentile(0.5), 7u);
  EXPECT_EQ(times.percentile(1), 15u);
}

TEST(FreezeTimesTest, EveryDurationHasAClass) {
  FreezeTimes times;
  times.add(std::numeric_limits<std::int64_t>::max());
  times.add(0);

  EXPECT_EQ(times.percentile(0.5), 0u);
  EXPECT_GE(times.percentile(1),
            static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
}

TEST(FreezeTimesTest, AnUnknownDurationIsNotCounted) {
  FreezeTimes times;
  times.add(-1);

  EXPECT_EQ(times.count(), 0u);
  EXPECT_EQ(times.percentile(0.5), 0u);
}

TEST(RecentRateTest, TheRateIsThatOfTheLastSeconds) {
  RecentRate rate;
  auto now = RecentRate::Clock::time_point() + std::chrono::hours(1);
  EXPECT_EQ(rate.per_second(now), 0);
  for (int i = 0; i < 2000; ++i, now += milliseconds(10))
    rate.add(now);

  EXPECT_NEAR(rate.per_second(now), 100, 5);
  EXPECT_NEAR(rate.per_second(now + milliseconds(2500)), 50, 5);
  EXPECT_EQ(rate.per_second(now + 2 * RecentRate::kWindow), 0);
}

TEST(RecentRateTest, AYoungRateIsMeasuredSinceItBegan) {
  RecentRate rate;
  auto now = RecentRate::Clock::time_point() + std::chrono::hours(1);
  for (int i = 0; i < 100; ++i, now += milliseconds(10))
    rate.add(now);

  EXPECT_NEAR(rate.per_second(now), 100, 5);
}

}  // namespace
}  // namespace sockmi::daemon
