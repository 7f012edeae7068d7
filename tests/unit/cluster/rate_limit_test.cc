// Tests how often a source may do something. The clock is the test's.
#include "cluster/rate_limit.h"

#include <gtest/gtest.h>

namespace sockmi::cluster {
namespace {

using namespace std::chrono_literals;

class RateLimitTest : public testing::Test {
 protected:
  static IpAddress source(int number) {
    return *IpAddress::parse("10.0.0." + std::to_string(number));
  }
  int takes(RateBySource& rate, const IpAddress& from, int tries) {
    int taken = 0;
    for (int i = 0; i < tries; ++i)
      taken += rate.take(from, now_);
    return taken;
  }
  RateBySource::Clock::time_point now_ = RateBySource::Clock::now();
};

TEST_F(RateLimitTest, EachSourceHasABurstAndARate) {
  RateBySource rate(10, 20);
  EXPECT_EQ(takes(rate, source(1), 100), 20);
  EXPECT_EQ(takes(rate, source(2), 100), 20) << "another source has its own";
  now_ += 1s;
  EXPECT_EQ(takes(rate, source(1), 100), 10);
  now_ += 1h;
  EXPECT_EQ(takes(rate, source(1), 100), 20);
}

TEST_F(RateLimitTest, SourcesBeyondTheBoundShareOneBudget) {
  RateBySource rate(10, 20, 2);
  EXPECT_EQ(takes(rate, source(1), 1) + takes(rate, source(2), 1), 2);
  int taken = 0;
  for (int i = 3; i < 200; ++i)
    taken += takes(rate, source(i), 1);
  EXPECT_LE(taken, 20);
  EXPECT_EQ(takes(rate, source(1), 100), 19) << "who has a bucket keeps it";
}

TEST_F(RateLimitTest, RareLogCountsTheLinesThatItOmits) {
  RareLog log;
  EXPECT_EQ(log.take(now_), 0);
  EXPECT_EQ(log.take(now_), -1);
  EXPECT_EQ(log.take(now_ + 500ms), -1);
  EXPECT_EQ(log.take(now_ + 1s), 2);
}

}  // namespace
}  // namespace sockmi::cluster
