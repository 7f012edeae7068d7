// One host of a test: a process with what a daemon has (records, journal, exporter,
// importer), in a network namespace of its own. Its sockets are real. Its rules, its
// messages and its time are the test's (two_hosts.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/address.h"

namespace sockmi::daemon {

struct HostSetup {
  std::string name;
  SocketAddress control_address;
  std::string other;  // the other host
  SocketAddress other_control_address;
  std::filesystem::path folder;  // of the journal
};

// Does what the test says at the other end of `link`, until the test is gone or kills it.
[[noreturn]] void run_host(const HostSetup& setup, int link, std::atomic<std::int64_t>& now);

}  // namespace sockmi::daemon
