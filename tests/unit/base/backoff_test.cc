#include "base/backoff.h"

#include <gtest/gtest.h>

namespace sockmi {
namespace {

using std::chrono::milliseconds;

TEST(Backoff, PausesDoubleUpToTheLongest) {
  Backoff pauses(milliseconds(20), milliseconds(100));

  for (const int expected : {20, 40, 80, 100, 100})
    EXPECT_EQ(pauses.next(), milliseconds(expected));
}

TEST(Backoff, IsLongestSaysWhenToGiveUp) {
  int attempts = 0;

  for (Backoff pauses(milliseconds(50), milliseconds(5000)); !pauses.is_longest(); pauses.next())
    ++attempts;

  EXPECT_EQ(attempts, 7);  // 50 to 3200
}

TEST(Backoff, ResetBeginsAgainWithTheFirstPause) {
  Backoff pauses(milliseconds(20), milliseconds(100));
  pauses.next();
  pauses.next();

  pauses.reset();

  EXPECT_EQ(pauses.next(), milliseconds(20));
}

}  // namespace
}  // namespace sockmi
