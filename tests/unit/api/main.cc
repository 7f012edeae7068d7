// The tests' main function: they run in a sandbox.
#include <gtest/gtest.h>

#include "served_daemon.h"
#include "unit/sandbox.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  sockmi::api::is_sandboxed = sockmi::test::enter_sandbox();
  return RUN_ALL_TESTS();
}
