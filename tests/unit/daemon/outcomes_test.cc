#include "migration/outcomes.h"

#include <fstream>

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

TEST_F(OutcomesTest, AnEndpointThatHasLeftTheDaemonDidNotEndWithIt) {
  {
    ConnectionTable table = open();
    ASSERT_TRUE(Outcomes(table).thaw("B", {{one_, 7}, {two_, 8}, {three_, 9}}));
    table.log_delivery(one_);
    const Decision decision{
        .cookie = 8,
        .tuple = {*SocketAddress::parse("10.0.0.1:443"), *SocketAddress::parse("10.0.0.9:1001")},
        .host = "C",
        .control_address = *SocketAddress::parse("10.0.0.3:7078")};
    ASSERT_TRUE(table.log_decision({9}, decision, std::nullopt));
    table.undo_decision({9}, decision, std::nullopt);
    table.log_delivery({4});  // one that did not come from another host
  }
  for (int restarts = 0; restarts < 2; ++restarts) {
    ConnectionTable table = open();
    Outcomes outcomes(table);
    outcomes.adopt({});
    EXPECT_EQ(outcomes.of("B", one_), Outcome::Lives) << "an application has closed it";
    EXPECT_EQ(outcomes.of("B", two_), Outcome::Lives) << "it has moved on";
    EXPECT_EQ(outcomes.of("B", three_), Outcome::Ended);
    EXPECT_EQ(outcomes.of("B", {4}), Outcome::Unknown);
  }
}

// Of an older version, or of a daemon that died before it wrote that.
TEST_F(OutcomesTest, AnEndpointThatTheNextDaemonFindsAtAnApplicationHasLeft) {
  {
    ConnectionTable table = open();
    ASSERT_TRUE(Outcomes(table).thaw("B", {{one_, 7}, {two_, 8}}));
  }
  for (const std::set<std::uint64_t>& alive : {std::set<std::uint64_t>{7}, {}}) {
    ConnectionTable table = open();
    Outcomes outcomes(table);
    outcomes.adopt(alive);
    EXPECT_EQ(outcomes.of("B", one_), Outcome::Lives);
    EXPECT_EQ(outcomes.of("B", two_), Outcome::Ended);
  }
}

TEST_F(OutcomesTest, TheRecordOfAnEndpointThatHasLeftEndsWhenItsExporterKnows) {
  {
    ConnectionTable table = open();
    Outcomes outcomes(table);
    ASSERT_TRUE(outcomes.thaw("B", {{one_, 7}, {two_, 8}}));
    table.log_delivery(one_);
    outcomes.forget("B", one_);
    outcomes.forget("B", two_);
    table.log_delivery(two_);  // afterwards: there is no record any more
    EXPECT_TRUE(table.journal().thawed().empty());
  }
  EXPECT_TRUE(open().journal().thawed().empty());
}

TEST_F(OutcomesTest, AnEndpointWithoutARecordNeverThawed) {
  ConnectionTable table = open();
  Outcomes outcomes(table);
  EXPECT_EQ(outcomes.give_up("B", one_), Outcome::NeverThawed);
  EXPECT_EQ(outcomes.of("B", one_), Outcome::NeverThawed);
}

TEST_F(OutcomesTest, ARecordThatADamagedJournalMayHaveLostIsNotMissing) {
  std::ofstream(folder_ / "journal")
      << "thawed \x01\x02 damaged\nthawed " << wire::to_hex(two_) << " 0 B\n";
  for (int restarts = 0; restarts < 2; ++restarts) {
    ConnectionTable table = open();
    Outcomes outcomes(table);
    outcomes.adopt({});
    EXPECT_EQ(outcomes.give_up("B", one_), Outcome::Unknown);
    EXPECT_EQ(outcomes.give_up("B", two_), Outcome::Lives);
  }
  std::filesystem::remove(folder_ / "journal.damaged-1");  // by an operator
  ConnectionTable table = open();
  EXPECT_EQ(Outcomes(table).give_up("B", one_), Outcome::NeverThawed);
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
