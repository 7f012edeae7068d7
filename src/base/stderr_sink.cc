#include "base/stderr_sink.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string_view>

#include <spdlog/sinks/base_sink.h>

#include "base/log.h"

namespace sockmi::log {
namespace {

std::atomic<std::uint64_t> dropped{0};

class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (missing_ > 0) {
      const auto note =
          "level=warning " + line_of("log_lines_dropped", {{"count", missing_}}) + "\n";
      if (write(note)) missing_ = 0;
    }
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (missing_ == 0 && write({line.data(), line.size()})) return;
    ++missing_;
    ++dropped;
  }
  void flush_() override {}

 private:
  // Returns false if there is no room at the moment.
  static bool write(std::string_view text) {
    char cut[PIPE_BUF];
    if (text.size() > sizeof cut) {
      std::copy_n(text.begin(), sizeof cut - 1, cut);
      cut[sizeof cut - 1] = '\n';
      text = {cut, sizeof cut};
    }
    // A socket (systemd's journal) reports by itself that it has no room.
    static std::atomic<bool> is_socket{true};
    if (is_socket) {
      const ssize_t sent =
          ::send(STDERR_FILENO, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent >= 0 || errno != ENOTSOCK) return sent >= 0;
      is_socket = false;
    }
    pollfd room{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) return false;
    return ::write(STDERR_FILENO, text.data(), text.size()) >= 0;
  }

  std::uint64_t missing_ = 0;  // since the last line that was written
};

}  // namespace

std::shared_ptr<spdlog::sinks::sink> make_stderr_sink() {
  return std::make_shared<StderrSink>();
}
std::uint64_t dropped_lines() {
  return dropped;
}

}  // namespace sockmi::log
