#include "drain/spread.h"

#include <gtest/gtest.h>

namespace sockmi::daemon {
namespace {

using Counts = std::map<std::string, int>;

class SpreadTest : public testing::Test {
 protected:
  static cluster::HostAnswer accepts(const std::string& host, std::uint32_t free,
                                     std::uint32_t load_percent = 0) {
    cluster::HostAnswer answer;
    answer.host.host = host;
    answer.reply = {.waiting_importers = 1, .free_slots = free, .load_percent = load_percent};
    return answer;
  }
  static cluster::HostAnswer refuses(const std::string& host, const std::string& reason) {
    cluster::HostAnswer answer = accepts(host, 0);
    answer.acceptable = fail(ENOBUFS, "{}", reason);
    return answer;
  }
  // Returns how many of the next connections each host gets.
  Counts take(int connections) {
    Counts out;
    for (int i = 0; i < connections; ++i)
      ++out[spread_.next({}, now_)];
    return out;
  }

  Spread spread_;
  Spread::Clock::time_point now_ = Spread::Clock::now();
};

TEST_F(SpreadTest, LikeHostsTakeTurns) {
  spread_.update({accepts("B", 1000), accepts("C", 1000)}, {});

  const std::string first = spread_.next({}, now_), second = spread_.next({}, now_);

  EXPECT_NE(first, second);
  EXPECT_EQ(take(100), (Counts{{"B", 50}, {"C", 50}}));
}

TEST_F(SpreadTest, ManyAnswersDoNotFavorTheFirstHost) {
  Counts out;
  for (int i = 0; i < 100; ++i) {
    spread_.update({accepts("B", 1000), accepts("C", 1000)}, {});
    ++out[spread_.next({}, now_)];
  }

  EXPECT_EQ(out, (Counts{{"B", 50}, {"C", 50}}));
}

TEST_F(SpreadTest, SharesFollowFreeSlotsAndLoad) {
  spread_.update({accepts("B", 9000), accepts("C", 9000, 200)}, {});  // a load of 2

  EXPECT_EQ(take(400), (Counts{{"B", 300}, {"C", 100}}));
  EXPECT_NEAR(spread_.shares(now_).at("B"), 0.75, 0.01);
}

TEST_F(SpreadTest, AHostGetsNoMoreThanItHasFreeSlots) {
  spread_.update({accepts("B", 3), accepts("C", 3)}, {});

  EXPECT_EQ(take(8), (Counts{{"B", 3}, {"C", 3}, {"", 2}}));
}

TEST_F(SpreadTest, AHostThatRefusesGetsNothing) {
  spread_.update({refuses("B", "import queue is full"), accepts("C", 10)}, {});

  EXPECT_EQ(take(4), (Counts{{"C", 4}}));
  EXPECT_EQ(spread_.refusals(), "B: import queue is full");
}

TEST_F(SpreadTest, AHostThatDoesNotAnswerAnyMoreGetsNothing) {
  spread_.update({accepts("B", 10), accepts("C", 10)}, {});
  spread_.update({accepts("C", 10)}, {});

  EXPECT_EQ(take(4), (Counts{{"C", 4}}));
}

TEST_F(SpreadTest, AHostThatWasNotNamedGetsNothing) {
  spread_.update({accepts("B", 10), accepts("C", 10)}, {"B"});

  EXPECT_EQ(take(4), (Counts{{"B", 4}}));
}

TEST_F(SpreadTest, AHostAtWhichAMoveFailedIsLeftOutForAWhile) {
  spread_.update({accepts("B", 100), accepts("C", 100)}, {});
  spread_.failed("B", "no answer", now_);

  EXPECT_EQ(take(4), (Counts{{"C", 4}}));
  spread_.update({accepts("B", 100), accepts("C", 100)}, {});
  EXPECT_EQ(take(4), (Counts{{"C", 4}}));
  EXPECT_EQ(spread_.refusals(), "B: no answer");
  now_ += Spread::kFirstAbsence;
  EXPECT_EQ(take(4).count("B"), 1u);
}

TEST_F(SpreadTest, AHostThatFailsAgainIsLeftOutForLonger) {
  spread_.update({accepts("B", 100)}, {});
  for (int i = 0; i < 20; ++i)
    spread_.failed("B", "no answer", now_);

  EXPECT_FALSE(spread_.has({}, now_ + Spread::kLongestAbsence - std::chrono::milliseconds(1)));
  EXPECT_TRUE(spread_.has({}, now_ + Spread::kLongestAbsence));
  spread_.succeeded("B");
  spread_.failed("B", "no answer", now_);
  EXPECT_TRUE(spread_.has({}, now_ + Spread::kFirstAbsence));
}

TEST_F(SpreadTest, AHostThatIsExceptedIsNotChosen) {
  spread_.update({accepts("B", 100), accepts("C", 100)}, {});

  EXPECT_EQ(spread_.next({"B"}, now_), "C");
  EXPECT_EQ(spread_.next({"B", "C"}, now_), "");
  EXPECT_FALSE(spread_.has({"B", "C"}, now_));
}

}  // namespace
}  // namespace sockmi::daemon
