// A log sink that never waits for the reader of standard error.
//
// A daemon that waits to write a log line would block: a journal may be stopped, and a
// pipe may have no reader. So a line for which there is no room is dropped and counted,
// and before the next line that fits, the number of missing lines is written. A line has
// at most PIPE_BUF bytes, and longer ones are cut: poll(2) promises room for that size,
// so the write neither blocks nor is split. O_NONBLOCK would be simpler, but it belongs
// to the open file description, which other processes share.
#pragma once

#include <cstdint>
#include <memory>

#include <spdlog/sinks/sink.h>

namespace sockmi::log {

// Creates the sink. It may be used by several threads.
std::shared_ptr<spdlog::sinks::sink> make_stderr_sink();

// Returns the number of lines dropped since the process started.
std::uint64_t dropped_lines();

}  // namespace sockmi::log
