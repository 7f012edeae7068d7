#include "base/stderr_sink.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>
#include <spdlog/logger.h>

namespace sockmi {
namespace {

constexpr unsigned kAtMost = 20;  // seconds; a write that waits for the reader ends the test

// Standard error of a child process is the writing end; the child's exit status is 0 if
// `holds` does.
template <class Holds>
[[noreturn]] void with_stderr(const int (&ends)[2], Holds holds) {
  ::alarm(kAtMost);
  ::dup2(ends[1], STDERR_FILENO);
  ::close(ends[1]);
  std::_Exit(holds(ends[0]) ? 0 : 1);
}

std::string read_all(int reader) {
  ::fcntl(reader, F_SETFL, O_NONBLOCK);
  std::string all;
  char part[4096];
  for (ssize_t got; (got = ::read(reader, part, sizeof part)) > 0;)
    all.append(part, static_cast<std::size_t>(got));
  return all;
}

// Fills what standard error is until lines are dropped, and reads it.
bool drops_and_counts(int reader) {
  spdlog::logger logger("test", log::make_stderr_sink());
  for (int i = 0; i < 20'000; ++i)
    logger.warn("a line of which nobody reads a word, {}", i);
  const std::uint64_t dropped = log::dropped_lines();
  if (dropped == 0) return false;
  if (read_all(reader).empty()) return false;
  logger.warn("a line that is read");
  const std::string after = read_all(reader);
  return after.find("event=log_lines_dropped count=" + std::to_string(dropped)) != after.npos &&
         after.find("a line that is read") != after.npos;
}

TEST(StderrSink, AFullPipeDelaysNobody) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_EXIT(with_stderr(ends, drops_and_counts), testing::ExitedWithCode(0), "");
}

TEST(StderrSink, AFullSocketDelaysNobody) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  EXPECT_EXIT(with_stderr(ends, drops_and_counts), testing::ExitedWithCode(0), "");
}

// Our programs ignore SIGPIPE; a socket needs not even that.
TEST(StderrSink, AReaderThatHasEndedIsNoReasonToEnd) {
  const auto writes_on = [](int) {
    spdlog::logger logger("test", log::make_stderr_sink());
    logger.warn("a line that nobody can read");
    return log::dropped_lines() == 1;
  };
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  ::close(ends[0]);
  EXPECT_EXIT(with_stderr(ends, writes_on), testing::ExitedWithCode(0), "");
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  const auto without_signal = [&](int reader) {
    ::signal(SIGPIPE, SIG_IGN);
    return writes_on(reader);
  };
  EXPECT_EXIT(with_stderr(ends, without_signal), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sockmi
