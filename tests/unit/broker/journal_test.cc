#include "broker/journal.h"

#include <fstream>

#include <gtest/gtest.h>

namespace sockmi::broker {
namespace {

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "sockmi-unit.XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(name.data()));
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Journal open() {
    auto journal = Journal::open(folder_);
    EXPECT_TRUE(journal);
    return std::move(*journal);
  }
  std::string text() const {
    std::ifstream in(folder_ / "journal");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& text) { std::ofstream(folder_ / "journal", std::ios::app) << text; }

  const image::MigrationId one_{1}, two_{2};
  const FourTuple tuple_{*SocketAddress::parse("10.0.0.1:443"), *SocketAddress::parse("10.0.0.9:1001")};
  const FourTuple other_{*SocketAddress::parse("[fd00::1]:443"), *SocketAddress::parse("[fd00::9]:1001")};
  const SocketAddress line_ = *SocketAddress::parse("10.0.0.1:7078");
  const Away away_{"web", "hostB", *IpAddress::parse("10.0.0.2"), "hostA", line_};
  const Resident resident_{tuple_, "a name, 100%\n", "hostA", line_, "", *SocketAddress::parse("[fd00::3]:7078")};
  std::filesystem::path folder_;
};

TEST_F(JournalTest, ADecisionOutlivesTheDaemon) {
  ASSERT_TRUE(open().committed(one_, 7, tuple_, away_));
  auto journal = open();
  EXPECT_TRUE(journal.has(one_));
  EXPECT_FALSE(journal.has(two_));
  EXPECT_EQ(journal.away(), (std::map<FourTuple, Away>{{tuple_, away_}}));
}

TEST_F(JournalTest, OneOfAContainerIsMarked) {
  Away inside = away_;
  inside.container = true;
  ASSERT_TRUE(open().committed(one_, 7, tuple_, inside));
  open().is_away(other_, away_);
  EXPECT_EQ(open().away(), (std::map<FourTuple, Away>{{tuple_, inside}, {other_, away_}}));
}

TEST_F(JournalTest, LinesOfBeforeThereWasAMarkAreOfNoContainer) {
  write("away 10.0.0.1:443<-10.0.0.9:1001 web hostB 10.0.0.2 hostA 10.0.0.1:7078\n");
  EXPECT_EQ(open().away(), (std::map<FourTuple, Away>{{tuple_, away_}}));
}

TEST_F(JournalTest, AnAcknowledgedDecisionIsForgottenWhatFollowedFromItIsNot) {
  {
    auto journal = open();
    ASSERT_TRUE(journal.committed(one_, 7, tuple_, away_));
    ASSERT_TRUE(journal.committed(two_, 8, other_, std::nullopt));
    journal.acknowledged(one_);
    EXPECT_FALSE(journal.has(one_));
  }
  EXPECT_FALSE(open().has(one_));
  EXPECT_TRUE(open().has(two_));
  EXPECT_EQ(open().away().size(), 1u);
}

TEST_F(JournalTest, WhoIsDecidedToGoIsNoResidentAnyMore) {
  auto journal = open();
  journal.lives_here(7, resident_);
  ASSERT_TRUE(journal.committed(one_, 7, tuple_, std::nullopt));
  EXPECT_TRUE(journal.residents().empty());
  EXPECT_TRUE(open().residents().empty());
}

TEST_F(JournalTest, AResidentIsReadAsItWasWritten) {
  open().lives_here(7, resident_);
  const auto found = open().residents();
  ASSERT_TRUE(found.contains(7));
  const Resident& read = found.at(7);
  EXPECT_EQ(read.tuple, resident_.tuple);
  EXPECT_EQ(read.service, resident_.service);
  EXPECT_EQ(read.home, resident_.home);
  EXPECT_EQ(read.home_line, resident_.home_line);
  EXPECT_EQ(read.from, resident_.from);
  EXPECT_EQ(read.from_line, resident_.from_line);
}

TEST_F(JournalTest, AnEndIsRememberedUntilItIsTold) {
  {
    auto journal = open();
    journal.lives_here(7, resident_);
    journal.is_away(other_, away_);
    EXPECT_EQ(journal.has_ended(resident_, 7), 1u);
    Resident sent_on = resident_;
    sent_on.tuple = other_;
    EXPECT_EQ(journal.has_ended(sent_on, 0), 2u);
    EXPECT_TRUE(journal.residents().empty());
    EXPECT_TRUE(journal.away().empty());
  }
  auto journal = open();
  EXPECT_EQ(journal.untold().size(), 2u);
  journal.told(1);
  EXPECT_EQ(open().untold().begin()->first, 2u);
  EXPECT_EQ(open().has_ended(resident_, 9), 3u);  // a number is not given twice while it is in use
}

TEST_F(JournalTest, ATornLineWasNotWritten) {
  ASSERT_TRUE(open().committed(one_, 7, tuple_, away_));
  write("committed " + image::to_hex(two_));
  auto journal = open();
  EXPECT_TRUE(journal.has(one_));
  EXPECT_FALSE(journal.has(two_));
}

TEST_F(JournalTest, GarbageIsPassedOver) {
  write("\n\n \ncommitted\n-\n- -\naway x\naway x a b c d e\naway 1.1.1.1:1<-2.2.2.2:2 web hostB nowhere hostA 10.0.0.1:7078\n" + std::string(10'000, 'x') +
        "\nresident 99999999999999999999 10.0.0.1:443<-10.0.0.9:1001 web hostA 10.0.0.1:7078 hostA 10.0.0.1:7078\nended -1 a b c d e f\n%%% %\n" +
        std::string("\0\xff\xfe\n", 4) + "committed " + image::to_hex(one_) + "\n");
  auto journal = open();
  EXPECT_TRUE(journal.has(one_));
  EXPECT_TRUE(journal.away().empty());
  EXPECT_TRUE(journal.residents().empty());
  EXPECT_TRUE(journal.untold().empty());
}

TEST_F(JournalTest, OpeningItKeepsTheFactsAlone) {
  {
    auto journal = open();
    for (int i = 0; i < 100; ++i) {
      journal.lives_here(7, resident_);
      journal.told(journal.has_ended(resident_, 7));
    }
    journal.is_away(tuple_, away_);
  }
  (void)open();
  EXPECT_EQ(text(), "away 10.0.0.1:443<-10.0.0.9:1001 web hostB 10.0.0.2 hostA 10.0.0.1:7078\n");
}

TEST_F(JournalTest, ItDoesNotGrowForEver) {
  auto journal = open();
  for (int i = 0; i < 25'000; ++i) {
    journal.is_away(tuple_, away_);
    journal.is_back(tuple_);
  }
  EXPECT_LT(text().size(), 1u << 20);
}

}  // namespace
}  // namespace sockmi::broker
