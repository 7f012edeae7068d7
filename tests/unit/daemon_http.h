// What a test says and hears as sockmid, at a connection of daemon_socket.h.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <vector>

#include "base/scm_rights.h"
#include "base/unique_fd.h"

namespace sockmi::test {

struct DaemonRequest {
  std::string line, body;
  std::vector<unique_fd> descriptors;
};

// Returns nothing if the client has closed.
inline std::optional<DaemonRequest> read_request(int fd) {
  DaemonRequest request;
  std::string text;
  for (;;) {
    if (const auto end = text.find("\r\n\r\n"); end != text.npos) {
      const auto length = text.find("Content-Length: ");
      const std::size_t size = length < end ? std::stoul(text.substr(length + 16)) : 0;
      if (text.size() >= end + 4 + size) {
        request.line = text.substr(0, text.find("\r\n"));
        request.body = text.substr(end + 4);
        return request;
      }
    }
    char piece[4096];
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptorsPerMessage * sizeof(int))];
    iovec part{piece, sizeof piece};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0) return std::nullopt;
    take_descriptors(message, request.descriptors);
    text.append(piece, static_cast<std::size_t>(got));
  }
}

// Returns whether the client takes it.
inline bool answer(int fd, int status, std::string body,
                   const std::vector<unique_fd>& descriptors = {}) {
  body.insert(0, "HTTP/1.1 " + std::to_string(status) +
                     " x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
  std::vector<int> numbers;
  for (const auto& each : descriptors)
    numbers.push_back(each.get());
  std::vector<char> control(CMSG_SPACE(numbers.size() * sizeof(int)));
  iovec part{body.data(), body.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  attach_descriptors(message, control, numbers);
  return ::sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(body.size());
}

}  // namespace sockmi::test
