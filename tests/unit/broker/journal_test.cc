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
  const image::MigrationId one_{1}, two_{2};
  const FourTuple tuple_{*SocketAddress::parse("10.0.0.1:443"), *SocketAddress::parse("10.0.0.9:1001")};
  std::filesystem::path folder_;
};

TEST_F(JournalTest, ADecisionOutlivesTheDaemon) {
  ASSERT_TRUE(open().committed(one_, "hostB", tuple_));
  EXPECT_TRUE(open().has(one_));
  EXPECT_FALSE(open().has(two_));
}

TEST_F(JournalTest, AnAcknowledgedDecisionIsForgotten) {
  {
    auto journal = open();
    ASSERT_TRUE(journal.committed(one_, "hostB", tuple_));
    ASSERT_TRUE(journal.committed(two_, "hostB", tuple_));
    journal.acknowledged(one_);
    EXPECT_FALSE(journal.has(one_));
  }
  EXPECT_FALSE(open().has(one_));
  EXPECT_TRUE(open().has(two_));
}

TEST_F(JournalTest, ATornLineWasNotWritten) {
  ASSERT_TRUE(open().committed(one_, "hostB", tuple_));
  std::ofstream(folder_ / "journal", std::ios::app) << "committed " << image::to_hex(two_);
  auto journal = open();
  EXPECT_TRUE(journal.has(one_));
  EXPECT_FALSE(journal.has(two_));
}

TEST_F(JournalTest, GarbageIsPassedOver) {
  std::ofstream(folder_ / "journal") << "\n\ncommitted\ncommitted zz\n" << std::string(1000, 'x') << "\ncommitted " << image::to_hex(one_) << "\n";
  EXPECT_TRUE(open().has(one_));
}

}  // namespace
}  // namespace sockmi::broker
