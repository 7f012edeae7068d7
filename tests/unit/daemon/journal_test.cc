#include "connections/journal.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include <fstream>

#include <gtest/gtest.h>

#include "journal_fixture.h"
#include "unit/armed_fault.h"

namespace sockmi::daemon {
namespace {

class JournalTest : public JournalFixture {
 protected:
  Journal look() {
    auto journal = Journal::look(folder_);
    EXPECT_TRUE(journal);
    return std::move(*journal);
  }

  const wire::MigrationId two_{2};
  const FourTuple tuple_{*SocketAddress::parse("10.0.0.1:443"),
                         *SocketAddress::parse("10.0.0.9:1001")};
  const FourTuple other_{*SocketAddress::parse("[fd00::1]:443"),
                         *SocketAddress::parse("[fd00::9]:1001")};
  const SocketAddress control_address_ = *SocketAddress::parse("10.0.0.1:7078");
  const RemoteConnection away_{"web", "hostB", *IpAddress::parse("10.0.0.2"), "hostA",
                               control_address_};
  const Decision decision_{7, tuple_, "hostB", *SocketAddress::parse("[fd00::2]:7078"), 42};
  const ImportedConnection imported_{tuple_,  "a name, 100%\n",
                                     "hostA", control_address_,
                                     "",      *SocketAddress::parse("[fd00::3]:7078")};
};

TEST_F(JournalTest, ADecisionIsReadByTheNextDaemon) {
  ASSERT_TRUE(open().committed(one_, decision_, away_));
  auto journal = open();
  EXPECT_TRUE(journal.has(one_));
  EXPECT_FALSE(journal.has(two_));
  EXPECT_EQ(journal.away(), (std::map<FourTuple, RemoteConnection>{{tuple_, away_}}));
}

TEST_F(JournalTest, ADecisionHasTheImportersControlAddress) {
  ASSERT_TRUE(open().committed(one_, decision_, away_));
  write("committed " + wire::to_hex(two_) + "\n");  // of an older daemon
  const auto found = open().decisions();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found.at(one_).cookie, 7u);
  EXPECT_EQ(found.at(one_).tuple, tuple_);
  EXPECT_EQ(found.at(one_).host, "hostB");
  EXPECT_EQ(found.at(one_).control_address, decision_.control_address);
  EXPECT_EQ(found.at(one_).mark, 42u);
  EXPECT_TRUE(found.at(two_).host.empty());
}

TEST_F(JournalTest, TakenBackRestoresTheImportedConnection) {
  {
    auto journal = open();
    journal.add_imported(7, imported_);
    ASSERT_TRUE(journal.committed(one_, decision_, away_));
    journal.taken_back(one_, decision_, imported_);
  }
  EXPECT_FALSE(open().has(one_));
  EXPECT_TRUE(open().away().empty());
  EXPECT_TRUE(open().imported().contains(7));
}

TEST_F(JournalTest, AThawIsKeptUntilItIsRetracted) {
  ASSERT_TRUE(open().thawed("B", {{one_, 7}, {two_, 8}}));
  EXPECT_EQ(open().thawed(),
            (std::map<wire::MigrationId, Thawed>{{one_, {7, "B"}}, {two_, {8, "B"}}}));
  open().not_thawed(one_);
  EXPECT_EQ(open().thawed(), (std::map<wire::MigrationId, Thawed>{{two_, {8, "B"}}}));
}

TEST_F(JournalTest, AConnectionOfAContainerIsMarked) {
  RemoteConnection inside = away_;
  inside.container = true;
  ASSERT_TRUE(open().committed(one_, decision_, inside));
  open().is_away(other_, away_);
  EXPECT_EQ(open().away(),
            (std::map<FourTuple, RemoteConnection>{{tuple_, inside}, {other_, away_}}));
}

TEST_F(JournalTest, ALineWithoutTheContainerWordIsOfNoContainer) {
  write("away 10.0.0.1:443<-10.0.0.9:1001 web hostB 10.0.0.2 hostA 10.0.0.1:7078\n");
  EXPECT_EQ(open().away(), (std::map<FourTuple, RemoteConnection>{{tuple_, away_}}));
}

TEST_F(JournalTest, AcknowledgedForgetsTheDecisionButNotTheMovedConnection) {
  {
    auto journal = open();
    ASSERT_TRUE(journal.committed(one_, decision_, away_));
    ASSERT_TRUE(journal.committed(two_, {8, other_, {}, {}, 0}, std::nullopt));
    journal.acknowledged(one_);
    EXPECT_FALSE(journal.has(one_));
  }
  EXPECT_FALSE(open().has(one_));
  EXPECT_TRUE(open().has(two_));
  EXPECT_EQ(open().away().size(), 1u);
}

TEST_F(JournalTest, ADecisionEndsTheImportedConnection) {
  auto journal = open();
  journal.add_imported(7, imported_);
  ASSERT_TRUE(journal.committed(one_, decision_, std::nullopt));
  EXPECT_TRUE(journal.imported().empty());
  EXPECT_TRUE(look().imported().empty());
}

TEST_F(JournalTest, AnImportedConnectionIsReadAsItWasWritten) {
  open().add_imported(7, imported_);
  const auto found = open().imported();
  ASSERT_TRUE(found.contains(7));
  const ImportedConnection& read = found.at(7);
  EXPECT_EQ(read.tuple, imported_.tuple);
  EXPECT_EQ(read.service, imported_.service);
  EXPECT_EQ(read.home, imported_.home);
  EXPECT_EQ(read.home_control, imported_.home_control);
  EXPECT_EQ(read.from, imported_.from);
  EXPECT_EQ(read.from_control, imported_.from_control);
}

TEST_F(JournalTest, APendingEndIsKeptUntilItIsDelivered) {
  {
    auto journal = open();
    journal.add_imported(7, imported_);
    journal.is_away(other_, away_);
    EXPECT_EQ(journal.has_ended(imported_, 7), 1u);
    ImportedConnection sent_on = imported_;
    sent_on.tuple = other_;
    EXPECT_EQ(journal.has_ended(sent_on, 0), 2u);
    EXPECT_TRUE(journal.imported().empty());
    EXPECT_TRUE(journal.away().empty());
  }
  auto journal = open();
  EXPECT_EQ(journal.pending_ends().size(), 2u);
  journal.end_delivered(1);
  EXPECT_EQ(look().pending_ends().begin()->first, 2u);
  EXPECT_EQ(look().pending_ends().size(), 1u);
  // A generation is not used twice while it is in use.
  EXPECT_EQ(journal.has_ended(imported_, 9), 3u);
}

TEST_F(JournalTest, ATakenOverAddressIsKnownUntilItIsGivenAway) {
  const TakenOver four{*IpAddress::parse("10.0.0.50"), 24, "eth0", "hostB", true},
      six{*IpAddress::parse("fd00::50"), 64, "a b", "hostC", false};
  {
    auto journal = open();
    journal.took_over(four);
    journal.took_over(six);
  }
  EXPECT_EQ(open().taken_over(), (std::vector<TakenOver>{four, six}));
  open().gave_up(four.ip);
  EXPECT_EQ(open().taken_over(), (std::vector<TakenOver>{six}));
  write("taken 10.0.0.51 33 eth0 hostB\n");
  EXPECT_EQ(look().unreadable(), 1u);
}

TEST_F(JournalTest, ALineWithoutItsEndIsIgnored) {
  ASSERT_TRUE(open().committed(one_, decision_, away_));
  write("committed " + wire::to_hex(two_));
  auto journal = open();
  EXPECT_TRUE(journal.has(one_));
  EXPECT_FALSE(journal.has(two_));
}

TEST_F(JournalTest, UnreadableLinesAreSkipped) {
  write(
      "\n\n \ncommitted\n-\n- -\naway x\naway x a b c d e\naway 1.1.1.1:1<-2.2.2.2:2 web hostB "
      "nowhere hostA 10.0.0.1:7078\n" +
      std::string(10'000, 'x') +
      "\nresident 99999999999999999999 10.0.0.1:443<-10.0.0.9:1001 web hostA 10.0.0.1:7078 hostA "
      "10.0.0.1:7078\nended -1 a b c d e f\n%%% %\n" +
      std::string("\0\xff\xfe\n", 4) + "committed " + wire::to_hex(one_) + "\n");
  auto journal = open();
  EXPECT_TRUE(journal.has(one_));
  EXPECT_TRUE(journal.away().empty());
  EXPECT_TRUE(journal.imported().empty());
  EXPECT_TRUE(journal.pending_ends().empty());
}

TEST_F(JournalTest, OpenDropsFactsThatHaveEnded) {
  {
    auto journal = open();
    for (int i = 0; i < 100; ++i) {
      journal.add_imported(7, imported_);
      journal.end_delivered(journal.has_ended(imported_, 7));
    }
    journal.is_away(tuple_, away_);
  }
  (void)open();
  EXPECT_EQ(text(), "away 10.0.0.1:443<-10.0.0.9:1001 web hostB 10.0.0.2 hostA 10.0.0.1:7078\n");
}

TEST_F(JournalTest, CompactionBoundsTheSizeOfTheFile) {
  auto journal = open();
  for (int i = 0; i < 25'000; ++i) {
    journal.is_away(tuple_, away_);
    journal.is_back(tuple_);
    if (journal.wants_compaction())
      journal.end_compaction(JournalFile::write_aside(journal.path(), journal.begin_compaction()));
  }
  EXPECT_LT(text().size(), 1u << 20);
}

TEST_F(JournalTest, FactsAddedDuringACompactionAreInTheNewFile) {
  auto journal = open();
  journal.is_away(tuple_, away_);
  const std::string before = journal.begin_compaction();
  journal.is_back(tuple_);
  ASSERT_TRUE(journal.committed(one_, {7, other_, {}, {}, 0}, away_));
  journal.end_compaction(JournalFile::write_aside(journal.path(), before));
  journal.add_imported(7, imported_);
  const auto read = look();
  EXPECT_TRUE(read.has(one_));
  EXPECT_EQ(read.away(), (std::map<FourTuple, RemoteConnection>{{other_, away_}}));
  EXPECT_EQ(read.imported().size(), 1u);
}

TEST_F(JournalTest, AFailedCompactionLeavesTheFileAndIsNotRepeatedAtEachLine) {
  auto journal = open();
  for (int i = 0; i < 6'000; ++i) {
    journal.is_away(tuple_, away_);
    journal.is_back(tuple_);
  }
  ASSERT_TRUE(journal.wants_compaction());
  journal.is_away(tuple_, away_);
  const test::ArmedFault fault("journal-compact");
  journal.end_compaction(JournalFile::write_aside(journal.path(), journal.begin_compaction()));
  EXPECT_FALSE(journal.wants_compaction());
  EXPECT_EQ(look().away().size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "journal.new"));
}

TEST_F(JournalTest, ASecondDaemonIsRefusedAndChangesNothing) {
  auto first = open();
  first.is_away(tuple_, away_);
  const std::string before = text();
  struct stat file {
  }, after{};
  ASSERT_EQ(::stat((folder_ / "journal").c_str(), &file), 0);
  const auto second = Journal::open(folder_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
  ASSERT_EQ(::stat((folder_ / "journal").c_str(), &after), 0);
  EXPECT_EQ(file.st_ino, after.st_ino);
  EXPECT_EQ(text(), before);
}

TEST_F(JournalTest, AReadErrorIsNotTakenForAnEmptyFile) {
  open().is_away(tuple_, away_);
  const std::string before = text();
  const test::ArmedFault fault("journal-read", 2);
  EXPECT_FALSE(Journal::look(folder_));
  EXPECT_FALSE(Journal::open(folder_));
  EXPECT_EQ(text(), before);
  EXPECT_EQ(open().away().size(), 1u);
}

TEST_F(JournalTest, OpenRefusesAFolderInPlaceOfTheFile) {
  std::filesystem::create_directory(folder_ / "journal");
  const auto journal = Journal::open(folder_);
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code, EISDIR);
}

TEST_F(JournalTest, FactsOfALaterVersionAreKept) {
  write(
      "thawed-later 17 a%20word x\nother 1\n-other 1\naway 10.0.0.1:443<-10.0.0.9:1001 web hostB "
      "10.0.0.2 hostA 10.0.0.1:7078 container more\n");
  EXPECT_EQ(open().unreadable(), 0u);
  EXPECT_NE(text().find("thawed-later 17 a%20word x\n"), std::string::npos);
  EXPECT_EQ(text().find("other 1"), std::string::npos);
}

TEST_F(JournalTest, ADecisionThatNamesNoSocketIsDamaged) {
  const std::string id = "committed " + wire::to_hex(one_);
  write(id + " 7\n" + id + " 7 10.0.0.1:443 hostB 10.0.0.2:7078 42\n" + id +
        " 7 10.0.0.1:443<-10.0.0.9:1001 hostB nowhere 42\ncommitted 12 7\n");
  const auto journal = open();
  EXPECT_EQ(journal.unreadable(), 4u);
  EXPECT_TRUE(journal.decisions().empty());
}

TEST_F(JournalTest, AThawOfAnEndpointThatLeftHasNoCookie) {
  {
    auto journal = open();
    ASSERT_TRUE(journal.thawed("B", {{one_, 7}, {two_, 8}}));
    journal.delivered(one_);
    const std::string before = text();
    journal.delivered(one_);
    EXPECT_EQ(text(), before) << "it is known already";
    ASSERT_TRUE(journal.committed({9}, {8, tuple_, "hostC", {}, 0}, std::nullopt));
  }
  EXPECT_EQ(open().thawed(),
            (std::map<wire::MigrationId, Thawed>{{one_, {0, "B"}}, {two_, {0, "B"}}}));
}

// A boot counts cookies from the start.
TEST_F(JournalTest, TheEndOfAThawLeavesALaterThawWithTheSameCookie) {
  auto journal = open();
  ASSERT_TRUE(journal.thawed("B", {{one_, 7}}));
  ASSERT_TRUE(journal.thawed("C", {{two_, 7}}));
  journal.not_thawed(one_);
  ASSERT_TRUE(journal.committed({9}, decision_, away_));  // of the socket with cookie 7
  EXPECT_EQ(journal.thawed(), (std::map<wire::MigrationId, Thawed>{{two_, {0, "C"}}}));
}

TEST_F(JournalTest, AFailedWriteRefusesADecisionAndPostponesOtherFacts) {
  auto journal = open();
  const test::ArmedFault fault("journal-write", 2);
  EXPECT_FALSE(journal.committed(one_, decision_, away_));
  EXPECT_FALSE(journal.has(one_));
  journal.add_imported(7, imported_);
  EXPECT_EQ(journal.imported().size(), 1u);
  EXPECT_EQ(journal.unwritten(), 1u);
  EXPECT_EQ(text(), "");
  EXPECT_NE(journal.error(), "");
  const auto refused = journal.reserve(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENOSPC);
  EXPECT_TRUE(journal.reserve(1));
  EXPECT_EQ(journal.unwritten(), 0u);
  EXPECT_EQ(journal.error(), "");
  EXPECT_EQ(look().imported().size(), 1u);
  EXPECT_FALSE(look().has(one_));
}

// A file system of its own, which can be filled.
class JournalOnFullDiskTest : public JournalTest {
 protected:
  void SetUp() override {
    if (::mount("unit", folder_.c_str(), "tmpfs", 0, "size=256k") != 0)
      GTEST_SKIP() << "no tmpfs can be mounted here";
  }
  void TearDown() override {
    ::umount2(folder_.c_str(), MNT_DETACH);
    JournalTest::TearDown();
  }
  void fill() {
    std::ofstream file(folder_ / "filling", std::ios::app);
    const std::string page(4096, 'x');
    while (file.write(page.data(), 4096).flush()) {
    }
  }
  void make_room() { std::filesystem::remove(folder_ / "filling"); }
};

TEST_F(JournalOnFullDiskTest, AReservedDecisionIsWritten) {
  auto journal = open();
  ASSERT_TRUE(journal.reserve(4));
  fill();
  for (std::uint8_t i = 1; i <= 4; ++i)
    EXPECT_TRUE(journal.committed({i}, {i, tuple_, {}, {}, 0}, away_));
  EXPECT_EQ(journal.error(), "");
}

TEST_F(JournalOnFullDiskTest, ReserveFailsAndFactsAreWrittenOnceThereIsRoom) {
  fill();
  auto journal = open();  // it starts with a full disk
  const auto refused = journal.reserve(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENOSPC);
  for (std::uint64_t cookie = 0; cookie < 100; ++cookie)
    journal.add_imported(cookie, imported_);
  EXPECT_EQ(journal.imported().size(), 100u);
  EXPECT_GT(journal.unwritten(), 0u);
  EXPECT_FALSE(journal.committed(one_, decision_, away_));
  make_room();
  ASSERT_TRUE(journal.reserve(1));
  EXPECT_EQ(journal.unwritten(), 0u);
  ASSERT_TRUE(journal.committed(two_, {8, tuple_, {}, {}, 0}, away_));
  const auto read = look();
  EXPECT_EQ(read.imported().size(), 99u);
  EXPECT_FALSE(read.has(one_));
  EXPECT_TRUE(read.has(two_));
  EXPECT_EQ(read.unreadable(), 0u);
}

TEST_F(JournalOnFullDiskTest, OpenReadsAndKeepsTheFile) {
  {
    auto journal = open();
    for (std::uint64_t cookie = 0; cookie < 200; ++cookie)
      journal.add_imported(cookie, imported_);
  }
  fill();
  auto journal = open();
  EXPECT_EQ(journal.imported().size(), 200u);
  EXPECT_EQ(look().imported().size(), 200u);
}

TEST_F(JournalOnFullDiskTest, TooManyUnwrittenFactsRequireACompaction) {
  auto journal = open();
  fill();
  for (std::uint64_t i = 0; i < 20'000; ++i)
    journal.is_away(tuple_, away_);
  journal.add_imported(7, imported_);
  ASSERT_TRUE(journal.wants_compaction());
  make_room();
  EXPECT_FALSE(journal.reserve(1));
  journal.end_compaction(JournalFile::write_aside(journal.path(), journal.begin_compaction()));
  EXPECT_TRUE(journal.reserve(1));
  EXPECT_EQ(look().imported().size(), 1u);
  EXPECT_EQ(look().away().size(), 1u);
}

}  // namespace
}  // namespace sockmi::daemon
