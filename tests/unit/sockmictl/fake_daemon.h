// Acts as sockmid for sockmictl: gives the answers that the test prepared, and keeps the
// requests.
#pragma once

#include <sys/socket.h>

#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "unit/daemon_socket.h"

namespace sockmi::test {

class FakeDaemon {
 public:
  FakeDaemon() : thread_([this] { serve(); }) {}
  ~FakeDaemon() {
    ::shutdown(socket_.listener(), SHUT_RDWR);
    thread_.join();
  }

  // Answers in this order. The last one is for all further requests.
  void answer(const std::string& body, int status = 200) {
    std::lock_guard lock(mutex_);
    answers_.push_back(
        fmt::format("HTTP/1.1 {} -\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body));
  }
  // Returns each request as "METHOD TARGET BODY".
  std::vector<std::string> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  const char* path() const { return socket_.path(); }

 private:
  void serve() {
    while (const unique_fd client = socket_.accept())
      serve(client.get());
  }
  void serve(int client) {
    const std::string request = receive(client);
    if (request.empty()) return;
    std::string answer;
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
      answer = answers_.empty() ? "" : answers_.front();
      if (answers_.size() > 1) answers_.pop_front();
    }
    (void)::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
  }
  // Returns "" if the client closes before it has sent a request.
  static std::string receive(int client) {
    std::string text;
    for (;;) {
      const auto head = text.find("\r\n\r\n");
      if (head != text.npos) {
        const auto length = text.find("Content-Length: ");
        const std::size_t size =
            length < head ? std::strtoul(text.c_str() + length + 16, nullptr, 10) : 0;
        if (text.size() >= head + 4 + size)
          return text.substr(0, text.find(" HTTP/1.1")) + " " + text.substr(head + 4);
      }
      char bytes[4096];
      const ssize_t got = ::recv(client, bytes, sizeof bytes, 0);
      if (got <= 0) return "";
      text.append(bytes, static_cast<std::size_t>(got));
    }
  }

  const DaemonSocket socket_;
  std::mutex mutex_;
  std::deque<std::string> answers_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

}  // namespace sockmi::test
