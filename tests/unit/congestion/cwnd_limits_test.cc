#include "congestion/cwnd_limits.h"

#include <gtest/gtest.h>

namespace sockmi::congestion {
namespace {

wire::TcpT image_with(std::uint32_t cwnd, std::uint32_t ssthresh = 0x7fffffff) {
  wire::TcpT image;
  image.mss = 1000;
  image.snd_cwnd = cwnd;
  image.snd_ssthresh = ssthresh;
  image.srtt_us = 40'000;
  image.rttvar_us = 1'000;
  image.window = std::make_unique<wire::Window>(0, 1'000'000, 2'000'000, 0, 0);
  return image;
}

TEST(CwndLimits, AWindowWithinTheLimitsIsUnchanged) {
  EXPECT_EQ(admissible(image_with(700, 500)), (Window{700, 500}));
}

TEST(CwndLimits, AnIncompleteImageHasNoWindow) {
  EXPECT_EQ(admissible(image_with(0)).cwnd, 0u);
  auto image = image_with(700);
  image.mss = 0;
  EXPECT_EQ(admissible(image).cwnd, 0u);
  image = image_with(700);
  image.window.reset();
  EXPECT_EQ(admissible(image).cwnd, 0u);
}

TEST(CwndLimits, AWindowIsAtMostTwiceThePeersLargestWindow) {
  EXPECT_EQ(admissible(image_with(5000)).cwnd, 4000u);
}

TEST(CwndLimits, AWindowHasAnAbsoluteMaximum) {
  auto image = image_with(0xffffffff);
  image.window = std::make_unique<wire::Window>(0, 0xffffffff, 0xffffffff, 0, 0);
  EXPECT_EQ(admissible(image).cwnd, (64u << 20) / 1000);
}

TEST(CwndLimits, TheInitialWindowIsAlwaysAllowed) {
  auto image = image_with(10);
  image.window = std::make_unique<wire::Window>(0, 0, 0, 0, 0);
  EXPECT_EQ(admissible(image).cwnd, 10u);
}

TEST(CwndLimits, ASmallWindowIsNotRaised) {
  EXPECT_EQ(admissible(image_with(1, 2)), (Window{1, 2}));
}

TEST(CwndLimits, TheThresholdIsClampedToTheKernelsRange) {
  EXPECT_EQ(admissible(image_with(10, 0)).ssthresh, 2u);
  EXPECT_EQ(admissible(image_with(10, 0xffffffff)).ssthresh, 0x7fffffffu);
}

TEST(CwndLimits, AnIdleWindowIsHalvedPerTimeout) {
  auto image = image_with(800);
  image.idle_ms = 200;  // the timeout: the smallest one
  EXPECT_EQ(admissible(image).cwnd, 800u);
  image.idle_ms = 201;
  EXPECT_EQ(admissible(image).cwnd, 400u);
  image.idle_ms = 401;
  EXPECT_EQ(admissible(image).cwnd, 200u);
  image.idle_ms = 0xffffffff;
  EXPECT_EQ(admissible(image).cwnd, 10u);
  image.srtt_us = 300'000;  // with rttvar: 304 ms
  image.idle_ms = 304;
  EXPECT_EQ(admissible(image).cwnd, 800u);
}

TEST(CwndLimits, AWindowWithDataInFlightIsNotHalved) {
  auto image = image_with(800);
  image.idle_ms = 10'000;
  image.send_queue.resize(3000);
  image.unsent = 2999;
  EXPECT_EQ(admissible(image).cwnd, 800u);
  image.unsent = 3000;
  EXPECT_EQ(admissible(image).cwnd, 10u);
}

TEST(PacingRate, SpreadsTheWindowOverARoundTrip) {
  const auto image = image_with(400);
  EXPECT_EQ(pacing_rate(admissible(image), image),
            12'000'000u);  // 400 kB in 40 ms, and a fifth more
}

TEST(PacingRate, IsZeroForNearPeersAndSmallWindows) {
  auto image = image_with(10);
  EXPECT_EQ(pacing_rate(admissible(image), image), 0u);
  image = image_with(400);
  image.srtt_us = 0;
  EXPECT_EQ(pacing_rate(admissible(image), image), 0u);
  image.srtt_us = 999;
  EXPECT_EQ(pacing_rate(admissible(image), image), 0u);
}

}  // namespace
}  // namespace sockmi::congestion
