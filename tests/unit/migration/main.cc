// The tests' main function: they run in a sandbox. Also the main function of the crash
// guards that the tests start.
#include <cstring>

#include <gtest/gtest.h>

#include "migration/crash_guard.h"
#include "migration/marks.h"
#include "network.h"
#include "unit/sandbox.h"

#ifdef __SANITIZE_ADDRESS__
// The program forks for each host, thousands of times: the larger it is, and the more
// pages its children touch, the longer that takes. Freed memory is kept for a while, but
// not 256 MiB of it; of what allocated, a report has the last caller, unless ASAN_OPTIONS
// says otherwise (malloc_context_size=30).
extern "C" [[gnu::visibility("default")]] const char* __asan_default_options() {
  return "quarantine_size_mb=16:malloc_context_size=1";
}
#endif

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], sockmi::daemon::CrashGuard::kArgument) == 0)
    sockmi::daemon::CrashGuard::watch(argv[2], sockmi::daemon::kMarks);
  testing::InitGoogleTest(&argc, argv);
  sockmi::daemon::is_sandboxed = sockmi::test::enter_sandbox();
  return RUN_ALL_TESTS();
}
