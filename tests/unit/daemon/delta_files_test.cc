// What other threads wrote in a freeze outlives the daemon.
#include "migration/delta_files.h"

#include <sys/stat.h>

#include <fstream>

#include <gtest/gtest.h>

#include "unit/temporary_folder.h"

namespace sockmi::daemon {
namespace {

class DeltaFilesTest : public testing::Test {
 protected:
  DeltaFilesTest() {
    journal_ = Journal::open(folder_);
    delta_.written = {1, 2, 3};
    delta_.read = 4;
    delta_.finished = true;
  }

  const sockmi::test::TemporaryFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
  Result<Journal> journal_ = fail(ENOENT, "not opened yet");
  const wire::MigrationId id_{1, 2, 3};
  wire::FreezeDeltaT delta_;
};

TEST(RuntimeFolder, MustBeInMemory) {
  EXPECT_TRUE(check_runtime_folder("/dev/shm"));
  EXPECT_EQ(check_runtime_folder("/proc").error().code, ENOTSUP);
  EXPECT_EQ(check_runtime_folder("/dev/shm/none").error().code, ENOENT);
}

TEST_F(DeltaFilesTest, TheNextDaemonReadsTheFileOfADecidedMove) {
  ASSERT_TRUE(keep_delta(folder_, id_, delta_));
  const FourTuple tuple{*SocketAddress::parse("10.0.0.1:443"),
                        *SocketAddress::parse("10.0.0.9:1001")};
  ASSERT_TRUE(journal_->committed(
      id_, {7, tuple, "hostB", *SocketAddress::parse("10.0.0.2:7078"), 0}, std::nullopt));
  journal_ = fail(ENOENT, "it dies");
  journal_ = Journal::open(folder_);
  ASSERT_TRUE(journal_);
  drop_unexplained_deltas(folder_, *journal_);
  const auto kept = kept_delta(folder_, id_);
  ASSERT_TRUE(kept) << to_string(kept.error());
  EXPECT_EQ(kept->written, delta_.written);
  EXPECT_EQ(kept->read, delta_.read);
  EXPECT_EQ(kept->finished, delta_.finished);
  drop_delta(folder_, id_);
  EXPECT_EQ(kept_delta(folder_, id_).error().code, ENOENT);
}

TEST_F(DeltaFilesTest, TheFileOfAnUndecidedMoveIsDropped) {
  ASSERT_TRUE(keep_delta(folder_, id_, delta_));
  drop_unexplained_deltas(folder_, *journal_);
  EXPECT_EQ(kept_delta(folder_, id_).error().code, ENOENT);
}

TEST_F(DeltaFilesTest, AFileStaysWhileItsDecisionMayBeLost) {
  ASSERT_TRUE(keep_delta(folder_, id_, delta_));
  std::ofstream(folder_ / "journal.damaged-1") << "x";
  drop_unexplained_deltas(folder_, *journal_);
  EXPECT_TRUE(kept_delta(folder_, id_));
}

TEST_F(DeltaFilesTest, OnlyTheOwnerMayReadTheFile) {
  ASSERT_TRUE(keep_delta(folder_, id_, delta_));
  struct stat facts {};
  ASSERT_EQ(::stat((folder_ / ("late-" + wire::to_hex(id_))).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
}

TEST_F(DeltaFilesTest, ASymlinkIsNeitherReadNorOverwritten) {
  std::filesystem::create_symlink("/dev/zero", folder_ / ("late-" + wire::to_hex(id_)));
  EXPECT_EQ(kept_delta(folder_, id_).error().code, ELOOP);
  EXPECT_EQ(keep_delta(folder_, id_, delta_).error().code, EEXIST);
}

TEST_F(DeltaFilesTest, ADamagedFileIsRefused) {
  ASSERT_TRUE(keep_delta(folder_, id_, delta_));
  std::filesystem::resize_file(folder_ / ("late-" + wire::to_hex(id_)), 10);
  EXPECT_FALSE(kept_delta(folder_, id_));
  std::filesystem::resize_file(folder_ / ("late-" + wire::to_hex(id_)), 1ull << 40);
  EXPECT_EQ(kept_delta(folder_, id_).error().code, EFBIG);
}

}  // namespace
}  // namespace sockmi::daemon
