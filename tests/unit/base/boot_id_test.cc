#include "base/boot_id.h"

#include <fstream>

#include <gtest/gtest.h>

#include "unit/temporary_folder.h"

namespace sockmi {
namespace {

TEST(BootId, IsTheSameForAsLongAsTheHostRuns) {
  EXPECT_EQ(boot_id().size(), 36u);
  EXPECT_EQ(boot_id(), boot_id());
}

TEST(BootId, IsEmptyIfTheFileHasNone) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(boot_id(folder.path / "missing"), "");
  EXPECT_EQ(boot_id(folder.path), "");
  std::ofstream(folder.path / "long") << std::string(100'000, 'x');
  EXPECT_EQ(boot_id(folder.path / "long"), "");
  std::ofstream(folder.path / "good") << "a-b\n";
  EXPECT_EQ(boot_id(folder.path / "good"), "a-b");
}

}  // namespace
}  // namespace sockmi
