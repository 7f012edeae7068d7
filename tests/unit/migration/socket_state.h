// What a test asks of a socket.
#pragma once

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "steer/packet_marks.h"

namespace sockmi::daemon {

inline int value_of(int fd, int level, int name) {
  int out = -1;
  socklen_t size = sizeof out;
  ::getsockopt(fd, level, name, &out, &size);
  return out;
}

inline std::uint8_t state_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_state : 0;
}

inline bool is_frozen(int fd) {
  return value_of(fd, SOL_SOCKET, SO_MARK) == static_cast<int>(steer::kFreezeMark) ||
         value_of(fd, IPPROTO_TCP, TCP_REPAIR) != 0;
}

// Waits until the kernel has done it, which takes microseconds. TCP has no event for it.
template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    ::poll(nullptr, 0, 2);
  }
  return false;
}

inline std::size_t queued(int fd, unsigned long request) {
  int out = 0;
  return ::ioctl(fd, request, &out) == 0 ? static_cast<std::size_t>(out) : 0;
}

// Returns `size` bytes, or less if no more come.
inline std::string read(int fd, std::size_t size) {
  std::string all(size, 0);
  std::size_t have = 0;
  for (pollfd wanted{fd, POLLIN, 0}; have < size && ::poll(&wanted, 1, 5000) == 1;) {
    const ssize_t got = ::recv(fd, all.data() + have, size - have, MSG_DONTWAIT);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  all.resize(have);
  return all;
}

}  // namespace sockmi::daemon
