#include "base/fault.h"

#include <gtest/gtest.h>

namespace sockmi {
namespace {

TEST(Fault, FailsAsOftenAsItIsArmedAndNamesItself) {
  EXPECT_TRUE(fault::point("capture"));
  fault::arm("capture", 2);
  EXPECT_TRUE(fault::point("redirect"));
  for (int i = 0; i < 2; ++i) {
    const auto failed = fault::point("capture");
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, EIO);
    EXPECT_NE(to_string(failed.error()).find("capture"), std::string::npos);
  }
  EXPECT_TRUE(fault::point("capture"));
}

TEST(Error, PrintsReasonAndErrnoName) {
  EXPECT_EQ(to_string(Error{ECONNREFUSED, "hostB: no"}), "hostB: no (ECONNREFUSED)");
  errno = ENOENT;
  EXPECT_EQ(to_string(fail_errno("open").error()), "open: No such file or directory (ENOENT)");
}

}  // namespace
}  // namespace sockmi
