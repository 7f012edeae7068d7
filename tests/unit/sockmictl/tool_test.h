// A fixture: sockmictl in the test's process, with a fake daemon.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "fake_daemon.h"
#include "sockmictl/command_line.h"

namespace sockmi::sockmictl {

struct Outcome {
  int status;
  std::string out, err;
};

inline Outcome sockmictl(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"sockmictl"};
  for (const std::string& each : arguments)
    argv.push_back(each.c_str());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int status = run(static_cast<int>(argv.size()), argv.data());
  std::fflush(stdout);
  return {status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

inline std::string text_of(const std::vector<std::string>& arguments) {
  return fmt::format("sockmictl {}", fmt::join(arguments, " "));
}

class ToolTest : public testing::Test {
 protected:
  test::FakeDaemon daemon_;
};

}  // namespace sockmi::sockmictl
