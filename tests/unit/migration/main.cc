// The tests' main function: they run in a sandbox. Also the main function of the crash
// guards that the tests start.
#include <cstring>

#include <gtest/gtest.h>

#include "migration/crash_guard.h"
#include "migration/marks.h"
#include "network.h"
#include "unit/sandbox.h"

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], sockmi::daemon::CrashGuard::kArgument) == 0)
    sockmi::daemon::CrashGuard::watch(argv[2], sockmi::daemon::kMarks);
  testing::InitGoogleTest(&argc, argv);
  sockmi::daemon::is_sandboxed = sockmi::test::enter_sandbox();
  return RUN_ALL_TESTS();
}
