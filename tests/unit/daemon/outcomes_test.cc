#include "migration/outcomes.h"

#include <gtest/gtest.h>

#include "unit/temporary_folder.h"

namespace sockmi::daemon {
namespace {

class OutcomesTest : public testing::Test {
 protected:
  ConnectionTable open() {
    auto journal = Journal::open(folder_);
    EXPECT_TRUE(journal);
    return ConnectionTable(std::move(*journal), "A", {});
  }

  const wire::MigrationId one_{1}, two_{2}, three_{3};
  const test::TemporaryFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
};

TEST_F(OutcomesTest, AVerdictCarriesTheOutcome) {
  for (const Outcome outcome :
       {Outcome::Unknown, Outcome::Lives, Outcome::NeverThawed, Outcome::Ended})
    EXPECT_EQ(outcome_of(verdict_on(outcome)), outcome);
  for (const int code : {ENOENT, EACCES, EIO, EPROTO, ENOBUFS})
    EXPECT_EQ(outcome_of(fail(code, "")), Outcome::Unknown) << code << " is no verdict";
}

TEST_F(OutcomesTest, TheNextDaemonKnowsTheOutcomeOfAThaw) {
  {
    ConnectionTable table = open();
    ASSERT_TRUE(Outcomes(table).thaw("B", {{one_, 7}, {two_, 8}}));
  }
  ConnectionTable table = open();
  Outcomes outcomes(table);
  outcomes.adopt({7});
  EXPECT_EQ(outcomes.of("B", one_), Outcome::Lives);
  EXPECT_EQ(outcomes.of("B", two_), Outcome::Ended) << "no socket has its cookie";
  EXPECT_EQ(outcomes.of("B", three_), Outcome::Unknown);
}

TEST_F(OutcomesTest, CorrectRemovesTheThawFromTheJournal) {
  ConnectionTable table = open();
  Outcomes outcomes(table);
  ASSERT_TRUE(outcomes.thaw("B", {{one_, 7}}));
  outcomes.correct("B", one_, Outcome::NeverThawed);
  EXPECT_EQ(outcomes.of("B", one_), Outcome::NeverThawed);
  EXPECT_TRUE(table.journal().thawed().empty());
}

TEST_F(OutcomesTest, AForgottenOutcomeIsStillAnswered) {
  ConnectionTable table = open();
  Outcomes outcomes(table);
  ASSERT_TRUE(outcomes.thaw("B", {{one_, 7}}));
  outcomes.forget("B", one_);
  EXPECT_TRUE(table.journal().thawed().empty());
  EXPECT_EQ(outcomes.of("B", one_), Outcome::Lives);
}

TEST_F(OutcomesTest, AnotherHostCannotChangeAnOutcome) {
  {
    ConnectionTable table = open();
    Outcomes outcomes(table);
    ASSERT_TRUE(outcomes.thaw("B", {{one_, 7}}));
    outcomes.forget("C", one_);
    outcomes.correct("C", one_, Outcome::NeverThawed);
    for (int i = 0; i < 70'000; ++i)
      outcomes.correct("C",
                       {9, static_cast<std::uint8_t>(i), static_cast<std::uint8_t>(i >> 8),
                        static_cast<std::uint8_t>(i >> 16)},
                       Outcome::NeverThawed);
    EXPECT_EQ(outcomes.of("B", one_), Outcome::Lives);
  }
  ConnectionTable table = open();
  Outcomes outcomes(table);
  outcomes.adopt({7});
  EXPECT_EQ(outcomes.of("B", one_), Outcome::Lives) << "the next daemon does not know it";
  EXPECT_EQ(outcomes.of("C", one_), Outcome::Unknown);
}

}  // namespace
}  // namespace sockmi::daemon
