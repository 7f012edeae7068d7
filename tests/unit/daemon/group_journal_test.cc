// The records of a group in the journal: each is written as a whole or not at all.
#include <array>

#include "journal_fixture.h"
#include "migration/outcomes.h"

namespace sockmi::daemon {
namespace {

class GroupJournalTest : public JournalFixture {
 protected:
  Journal look() {
    auto journal = Journal::look(folder_);
    EXPECT_TRUE(journal);
    return std::move(*journal);
  }
  void replace(const std::string& text) { std::ofstream(folder_ / "journal") << text; }

  const wire::MigrationId two_{2}, three_{3};
  const FourTuple tuple_{*SocketAddress::parse("10.0.0.1:443"),
                         *SocketAddress::parse("10.0.0.9:1001")};
  const FourTuple other_{*SocketAddress::parse("[fd00::1]:443"),
                         *SocketAddress::parse("[fd00::9]:1001")};
  const SocketAddress control_address_ = *SocketAddress::parse("10.0.0.1:7078");
  const RemoteConnection away_{"web", "hostB", *IpAddress::parse("10.0.0.2"), "hostA",
                               control_address_};
};

// A daemon that is killed while it writes leaves any part of what it wrote.
TEST_F(GroupJournalTest, TheDecisionIsWrittenAsAWholeOrNotAtAll) {
  Decision first{7, tuple_, "hostB", control_address_, 42};
  Decision second{8, other_, "hostB", control_address_, 0};
  first.group = second.group = one_;
  {
    auto journal = open();
    journal.add_imported(
        7, {tuple_, "a name, 100%\n", "hostA", control_address_, "", control_address_});
    ASSERT_TRUE(journal.committed(
        std::array{Departure{one_, first, std::nullopt}, Departure{two_, second, away_}}));
    EXPECT_EQ(journal.decisions().size(), 2u);
  }
  const std::string all = text();
  ASSERT_EQ(look().decisions().at(two_).group, one_);
  for (std::size_t size = all.rfind("together"); size <= all.size(); ++size) {
    replace(all.substr(0, size));
    const auto journal = look();
    const bool whole = size == all.size();
    EXPECT_EQ(journal.decisions().size(), whole ? 2u : 0u) << size;
    EXPECT_EQ(journal.away().size(), whole ? 1u : 0u) << size;
    EXPECT_EQ(journal.imported().size(), whole ? 0u : 1u) << size;
    EXPECT_EQ(journal.unreadable(), 0u) << size;
  }
}

TEST_F(GroupJournalTest, TheThawIsWrittenAsAWholeOrNotAtAll) {
  ASSERT_TRUE(open().thawed("B", {{one_, 7, 1}, {two_, 8, 1}, {three_, 9, 2}}));
  const std::string all = text();
  const std::size_t group = all.find('\n');
  replace(all.substr(0, group));
  EXPECT_EQ(look().thawed().size(), 0u);
  replace(all.substr(0, group + 1));
  EXPECT_EQ(look().thawed().size(), 2u);
  replace(all);
  EXPECT_EQ(open().thawed().at(three_), (Thawed{9, "B"}));
}

// Otherwise the next daemon could say of one endpoint that it ended with the earlier one,
// and of another one that it lives, although an application had both.
TEST_F(GroupJournalTest, TheDeliveryIsWrittenAsAWholeOrNotAtAll) {
  std::size_t before = 0;
  {
    auto journal = open();
    ASSERT_TRUE(journal.thawed("B", {{one_, 7, 1}, {two_, 8, 1}}));
    before = text().size();
    journal.delivered(std::array{one_, two_});
  }
  const std::string all = text();
  for (std::size_t size = before; size <= all.size(); ++size) {
    replace(all.substr(0, size));
    ConnectionTable table(open(), "A", {});
    Outcomes outcomes(table);
    outcomes.adopt({});
    const Outcome expected = size == all.size() ? Outcome::Lives : Outcome::Ended;
    EXPECT_EQ(outcomes.of("B", one_), expected) << size;
    EXPECT_EQ(outcomes.of("B", two_), expected) << size;
  }
}

TEST_F(GroupJournalTest, ADeliveryIsWrittenOnceAndOnlyForThaws) {
  auto journal = open();
  ASSERT_TRUE(journal.thawed("B", {{one_, 7, 1}, {two_, 8, 1}}));
  journal.delivered(std::array{one_, two_, three_});
  const std::string all = text();
  journal.delivered(std::array{one_, two_, three_});
  EXPECT_EQ(text(), all);
  EXPECT_EQ(look().thawed(),
            (std::map<wire::MigrationId, Thawed>{{one_, {0, "B"}}, {two_, {0, "B"}}}));
}

TEST_F(GroupJournalTest, ARecordThatLacksAFactIsUnreadableAsAWhole) {
  const std::string one = "committed%20" + wire::to_hex(one_);
  write("together 1 " + one + "\ntogether 2 " + one + "\ntogether 1 ended%20x\ntogether x\n");
  const auto journal = look();
  EXPECT_EQ(journal.unreadable(), 3u);
  EXPECT_TRUE(journal.has(one_));
}

// One fact of the thaw of a group is damaged: the whole group is in doubt, not only the
// endpoint of that fact.
TEST_F(GroupJournalTest, AGroupWhoseThawIsDamagedStaysInDoubtAsAWhole) {
  ASSERT_TRUE(open().thawed("B", {{one_, 7, 1}, {two_, 8, 1}}));
  std::string damaged = text();
  const std::size_t cookie = damaged.find("%208%20");
  ASSERT_NE(cookie, std::string::npos) << damaged;
  damaged.replace(cookie, 7, "%20x%20");
  replace(damaged);
  for (int restarts = 0; restarts < 2; ++restarts) {
    ConnectionTable table(open(), "A", {});
    Outcomes outcomes(table);
    outcomes.adopt({7, 8});
    EXPECT_EQ(outcomes.give_up("B", one_), Outcome::Unknown);
    EXPECT_EQ(outcomes.give_up("B", two_), Outcome::Unknown);
  }
}

}  // namespace
}  // namespace sockmi::daemon
