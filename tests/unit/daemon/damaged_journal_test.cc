// A journal with lines that cannot be read: nothing follows from what it lacks.
#include <fstream>

#include <gtest/gtest.h>

#include "journal_fixture.h"

namespace sockmi::daemon {
namespace {

using DamagedJournalTest = JournalFixture;

TEST_F(DamagedJournalTest, ADamagedFileIsKeptAside) {
  const std::string broken = "committed " + wire::to_hex(one_) + "\naway x y\n";
  write(broken);
  {
    auto journal = open();
    EXPECT_TRUE(journal.has(one_));
    EXPECT_EQ(journal.unreadable(), 1u);
  }
  std::ifstream kept(folder_ / "journal.damaged-1");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}), broken);
  EXPECT_EQ(text(), "committed " + wire::to_hex(one_) + "\n");
  EXPECT_EQ(open().unreadable(), 0u);
}

TEST_F(DamagedJournalTest, FactsMayBeLackingWhileADamagedFileIsKept) {
  EXPECT_FALSE(open().may_lack_facts());
  write("away x y\n");
  for (int restarts = 0; restarts < 3; ++restarts)
    EXPECT_TRUE(open().may_lack_facts());
  const auto journal = open();
  std::filesystem::rename(folder_ / "journal.damaged-1", folder_ / "journal.damaged-9");
  EXPECT_TRUE(journal.may_lack_facts());
  std::filesystem::remove(folder_ / "journal.damaged-9");
  EXPECT_FALSE(journal.may_lack_facts());
}

TEST_F(DamagedJournalTest, TheLogNamesTheFilesThatAnEarlierDaemonKept) {
  const auto log_of_start = [this] {
    testing::internal::CaptureStdout();
    open();
    return testing::internal::GetCapturedStdout();
  };
  write("away x y\n");
  EXPECT_EQ(log_of_start().find("event=damaged_journal_remains"), std::string::npos)
      << "the file is new";
  std::filesystem::rename(folder_ / "journal.damaged-1", folder_ / "journal.damaged-3");
  const std::string warned = log_of_start();
  EXPECT_NE(warned.find("event=damaged_journal_remains file="), std::string::npos) << warned;
  EXPECT_NE(warned.find("/journal.damaged-3 consequence="), std::string::npos) << warned;
  std::filesystem::remove(folder_ / "journal.damaged-3");
  EXPECT_EQ(log_of_start().find("event=damaged_journal_remains"), std::string::npos);
}

TEST_F(DamagedJournalTest, AKeptFileThatCannotBeLookedForCountsAsKept) {
  std::ofstream(folder_ / "file");
  EXPECT_FALSE(JournalFile(folder_ / "file" / "journal").kept().empty());
  EXPECT_TRUE(JournalFile(folder_ / "journal").kept().empty());
}

TEST_F(DamagedJournalTest, ADamagedFileThatCannotBeKeptAsideStaysInUse) {
  for (int i = 1; i <= 9; ++i)
    std::ofstream(folder_ / fmt::format("journal.damaged-{}", i)) << "x";
  write("away x y\n");
  auto journal = open();
  EXPECT_EQ(text(), "away x y\n");
  ASSERT_TRUE(journal.thawed("B", {{one_, 7}}));
  EXPECT_TRUE(Journal::look(folder_)->thawed().contains(one_));
}

}  // namespace
}  // namespace sockmi::daemon
