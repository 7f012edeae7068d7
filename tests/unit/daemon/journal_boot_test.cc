// What the journal says of sockets of another boot, and of earlier hops of a connection.
#include <array>

#include "journal_fixture.h"
#include "migration/outcomes.h"
#include "unit/armed_fault.h"

namespace sockmi::daemon {
namespace {

class JournalBootTest : public JournalFixture {
 protected:
  Journal open_in(const std::string& boot) {
    auto journal = Journal::open(folder_, boot);
    EXPECT_TRUE(journal);
    return std::move(*journal);
  }
  Decision decision(std::uint64_t generation) const {
    return {.cookie = 7,
            .tuple = tuple_,
            .host = "M",
            .control_address = control_address_,
            .mark = 42,
            .generation = generation};
  }
  Thawing comes_back(std::uint64_t generation) const {
    return {.id = three_, .cookie = 9, .tuple = tuple_, .generation = generation};
  }

  const wire::MigrationId two_{2}, three_{3};
  const FourTuple tuple_{*SocketAddress::parse("10.0.0.1:443"),
                         *SocketAddress::parse("10.0.0.9:1001")};
  const SocketAddress control_address_ = *SocketAddress::parse("10.0.0.2:7078");
  const ImportedConnection imported_{tuple_,           "web", "H", control_address_, "H",
                                     control_address_, 5};
};

TEST_F(JournalBootTest, TheSocketOfADecisionEndsWithItsBoot) {
  ASSERT_TRUE(open_in("one").committed(one_, decision(5), std::nullopt));
  EXPECT_EQ(open_in("one").decisions().at(one_).cookie, 7u);
  const auto after = open_in("two");
  EXPECT_TRUE(after.has(one_)) << "its importer may ask";
  EXPECT_EQ(after.decisions().at(one_).cookie, 0u);
  EXPECT_EQ(after.decisions().at(one_).generation, 5u);
  EXPECT_EQ(after.decisions().at(one_).mark, 42u);
}

TEST_F(JournalBootTest, AnImportedConnectionEndsWithItsBoot) {
  open_in("one").add_imported(7, imported_);
  EXPECT_EQ(open_in("one").imported().size(), 1u);
  EXPECT_TRUE(open_in("one").pending_ends().empty());
  for (int restarts = 0; restarts < 2; ++restarts) {
    const auto after = open_in("two");
    EXPECT_TRUE(after.imported().empty());
    ASSERT_EQ(after.pending_ends().size(), 1u);
    EXPECT_EQ(after.pending_ends().begin()->second, imported_);
  }
}

TEST_F(JournalBootTest, AConnectionThatIsTakenBackLivesInThisBoot) {
  open_in("one").taken_back(one_, decision(5), imported_);
  EXPECT_EQ(open_in("one").imported().size(), 1u);
  EXPECT_TRUE(open_in("two").imported().empty());
}

// The exporter would believe that the connection lives, and end its own socket silently.
TEST_F(JournalBootTest, AThawOfAnotherBootHasEndedWhateverSocketHasItsCookie) {
  ASSERT_TRUE(open_in("one").thawed("B", {{one_, 7}, {two_, 8}}));
  open_in("one").delivered(two_);
  for (int restarts = 0; restarts < 2; ++restarts) {
    ConnectionTable table(open_in("two"), "A", {});
    Outcomes outcomes(table);
    outcomes.adopt({7, 8});
    EXPECT_EQ(outcomes.of("B", one_), Outcome::Ended);
    EXPECT_EQ(outcomes.of("B", two_), Outcome::Lives) << "it had left the daemon";
  }
}

TEST_F(JournalBootTest, ADecisionOfThisBootIsNotAboutAThawOfAnother) {
  ASSERT_TRUE(open_in("one").thawed("B", {{one_, 7}}));
  {
    auto journal = open_in("two");
    ASSERT_TRUE(journal.committed(two_, decision(5), std::nullopt));  // its cookie is 7, too
    EXPECT_EQ(journal.thawed().at(one_), (Thawed{7, "B", true}));
    ASSERT_TRUE(journal.thawed("B", {{three_, 7}}));
    journal.not_thawed(one_);
    ASSERT_TRUE(journal.committed(one_, decision(6), std::nullopt));
  }
  EXPECT_EQ(open_in("two").thawed(), (std::map<wire::MigrationId, Thawed>{{three_, {0, "B"}}}));
}

TEST_F(JournalBootTest, LinesWithoutABootAreOfThisBoot) {
  write("thawed " + wire::to_hex(one_) + " 7 B\ncommitted " + wire::to_hex(two_) +
        " 8 10.0.0.1:443<-10.0.0.9:1001 M 10.0.0.2:7078 42\nresident 9 "
        "10.0.0.1:443<-10.0.0.9:1001 web H 10.0.0.2:7078 H 10.0.0.2:7078 5\n");
  const auto journal = open_in("two");
  EXPECT_EQ(journal.unreadable(), 0u);
  EXPECT_EQ(journal.thawed().at(one_), (Thawed{7, "B"}));
  EXPECT_EQ(journal.decisions().at(two_).cookie, 8u);
  EXPECT_EQ(journal.decisions().at(two_).generation, 0u);
  EXPECT_EQ(journal.imported().at(9), imported_);
}

TEST_F(JournalBootTest, NothingEndsIfTheBootIsNotKnown) {
  {
    auto journal = open_in("one");
    journal.add_imported(7, imported_);
    ASSERT_TRUE(journal.thawed("B", {{one_, 8}}));
  }
  const auto journal = open_in("");
  EXPECT_EQ(journal.imported().size(), 1u);
  EXPECT_EQ(journal.thawed().at(one_), (Thawed{8, "B"}));
}

// An earlier version reads the first six words, and refuses a group that is no ID.
TEST_F(JournalBootTest, ALineOfADecisionIsReadableForEarlierVersions) {
  ASSERT_TRUE(open_in("b-1").committed(one_, decision(5), std::nullopt));
  EXPECT_EQ(text(), "committed " + wire::to_hex(one_) +
                        " 7 10.0.0.1:443<-10.0.0.9:1001 M 10.0.0.2:7078 42 " + wire::to_hex(one_) +
                        " 5 b-1\n");
}

TEST_F(JournalBootTest, ADecisionWhoseGenerationIsNoNumberIsDamaged) {
  ASSERT_TRUE(open_in("one").committed(one_, decision(5), std::nullopt));
  std::string damaged = text();
  damaged.replace(damaged.find(" 5 one"), 2, " x");
  std::ofstream(folder_ / "journal") << damaged;
  EXPECT_EQ(open_in("one").unreadable(), 1u);
}

TEST_F(JournalBootTest, AConnectionThatComesBackEndsTheDecisionsOnEarlierHops) {
  const auto open_after = [&](std::uint64_t decided, std::uint64_t back) {
    std::filesystem::remove(folder_ / "journal");
    auto journal = open_in("one");
    EXPECT_TRUE(journal.committed(one_, decision(decided), std::nullopt));
    EXPECT_TRUE(journal.thawed("M", {comes_back(back)}));
    EXPECT_TRUE(journal.thawed().contains(three_));
    EXPECT_EQ(Journal::look(folder_, "one")->decisions().size(), journal.decisions().size());
    return journal.decisions().size();
  };
  EXPECT_EQ(open_after(5, 6), 0u);
  EXPECT_EQ(open_after(5, 5), 1u);
  EXPECT_EQ(open_after(5, 4), 1u) << "a message of an earlier hop arrives late";
  EXPECT_EQ(open_after(0, 6), 1u) << "of an earlier version";
}

TEST_F(JournalBootTest, AConnectionWhoseThawTheDiskRefusesEndsNoDecision) {
  auto journal = open_in("one");
  ASSERT_TRUE(journal.committed(one_, decision(5), std::nullopt));
  const test::ArmedFault fault("journal-write");
  EXPECT_FALSE(journal.thawed("M", {comes_back(6)}));
  EXPECT_TRUE(journal.has(one_));
}

TEST_F(JournalBootTest, AListenerThatComesBackLeavesEarlierDecisions) {
  auto journal = open_in("one");
  Decision listener = decision(5);
  listener.tuple.remote = {};
  Thawing back = comes_back(6);
  back.tuple = listener.tuple;
  ASSERT_TRUE(journal.committed(one_, listener, std::nullopt));
  ASSERT_TRUE(journal.thawed("M", {back}));
  EXPECT_TRUE(journal.has(one_));
}

TEST(NextGeneration, IsGreaterThanTheLastOneWhateverTheClockSays) {
  const std::uint64_t later = next_generation(0) + 3'600'000'000;
  EXPECT_EQ(next_generation(later, true), later + 1) << "the clock was set back";
  EXPECT_GT(next_generation(7, true), 1'000'000'000u);
  EXPECT_EQ(next_generation(7), 8u);
}

}  // namespace
}  // namespace sockmi::daemon
