// A log sink that never waits for whoever reads standard error.
//
// A daemon whose log line can't be written would stand still: a journal that is stopped, a pipe that nobody reads. So a line that has no room is dropped
// and counted, and the next one that has says how many are missing. A line is at most PIPE_BUF bytes, longer ones are cut: poll(2) promises room for as much,
// so that the write neither blocks nor is torn. O_NONBLOCK would be simpler, but belongs to the open file, which others share.
#pragma once

#include <cstdint>
#include <memory>

#include <spdlog/sinks/sink.h>

namespace sockmi::log {

// Safe for several threads.
std::shared_ptr<spdlog::sinks::sink> make_stderr_sink();

// Lines dropped since the start of the process.
std::uint64_t dropped_lines();

}  // namespace sockmi::log
