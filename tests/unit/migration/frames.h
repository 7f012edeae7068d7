// What the test and the processes of its hosts say to each other, over a socket.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "base/secret.h"

namespace sockmi::daemon {

// The message that a frame carries as text.
inline Secret secret_of(const std::string& text) {
  return Secret(text.begin(), text.end());
}

struct Frame {
  enum class Kind : std::uint32_t {
    // Of the test. The host does it, runs until it has nothing to do, and says Idle.
    Start,    // data: "" or "guard"
    Tick,     // time has passed
    Deliver,  // number: the call; name: the message's; data: a message of the other host
    Reply,    // number: the call; data: the answer; name: an errno, if there is none
    // data: descriptors of the test, a socket and a token (-1: none) each line; name:
    // "group": the sockets are one
    Export,
    Arm,     // name: a fault point, whose next passage fails
    Greet,   // the other host has started, or this one
    Take,    // the endpoints that are ready
    Decide,  // data: what an operator says of everything in doubt, "commit" or "discard"
    Dump,    // what the host has recorded
    // Of the host. Those before Idle are visible actions.
    Action,    // name: what it is about to do; it waits for Go
    Steer,     // data: an operation on the rules; it waits for Go
    Call,      // number, name, data: a message to the other host
    Answer,    // number of the Deliver; data
    Exported,  // data: an errno each line, 0: moved
    Idle,      // number: when it wants to wake up
    Taken,     // data: descriptors of the host, one each line; it waits for Go
    Dumped,    // data: JSON
    Go,        // of the test; data: the answer to Steer
  };
  Kind kind{};
  std::uint64_t number = 0;
  std::string name = {}, data = {};
};

inline bool transfer(int fd, void* data, std::size_t size, bool out) {
  for (auto* at = static_cast<char*>(data); size > 0;) {
    const ssize_t done =
        out ? ::send(fd, at, size, MSG_NOSIGNAL) : ::recv(fd, at, size, MSG_WAITALL);
    if (done <= 0) return false;
    at += done;
    size -= static_cast<std::size_t>(done);
  }
  return true;
}

// Return false and nothing if the other process is gone.
inline bool send(int fd, const Frame& frame) {
  std::uint64_t head[4] = {static_cast<std::uint64_t>(frame.kind), frame.number, frame.name.size(),
                           frame.data.size()};
  std::string all(reinterpret_cast<const char*>(head), sizeof head);
  all += frame.name + frame.data;
  return transfer(fd, all.data(), all.size(), true);
}

inline std::optional<Frame> receive(int fd) {
  std::uint64_t head[4];
  if (!transfer(fd, head, sizeof head, false)) return std::nullopt;
  Frame frame{static_cast<Frame::Kind>(head[0]), head[1], std::string(head[2], 0),
              std::string(head[3], 0)};
  if (!transfer(fd, frame.name.data(), head[2], false) ||
      !transfer(fd, frame.data.data(), head[3], false))
    return std::nullopt;
  return frame;
}

}  // namespace sockmi::daemon
