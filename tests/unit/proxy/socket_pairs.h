// Connected sockets for both ends of a leg.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <string>

#include "proxy/sockets.h"

namespace sockmi::test {

struct Pair {
  unique_fd ours, peer;
};

inline Pair unix_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  return {unique_fd(fds[0]), unique_fd(fds[1])};
}

// Over TCP, where a reset is different from an end.
inline Pair tcp_pair() {
  SocketAddress any = *SocketAddress::parse("127.0.0.1:1");
  any.port = 0;
  const auto listener = *proxy::open_listener(proxy::StreamAddress{any, ""}, true, 1);
  Pair pair;
  pair.peer = *proxy::begin_connect(proxy::StreamAddress{proxy::local_address(listener.get()), ""});
  pollfd ready{listener.get(), POLLIN, 0};
  ::poll(&ready, 1, 10'000);
  pair.ours = *proxy::accept_from(listener.get());
  return pair;
}

// Returns what has arrived, or what happened instead.
inline std::string receive(const unique_fd& fd) {
  std::string all(1 << 22, '\0');
  const auto count = ::recv(fd.get(), all.data(), all.size(), 0);
  if (count < 0) return errno == EAGAIN ? "nothing" : "reset";
  return count == 0 ? "end" : all.substr(0, static_cast<std::size_t>(count));
}

// Waits for something to arrive, ten seconds at most.
inline std::string await(const unique_fd& fd) {
  pollfd ready{fd.get(), POLLIN, 0};
  ::poll(&ready, 1, 10'000);
  return receive(fd);
}

// Writes until the socket takes nothing more. Returns how much that was.
inline std::size_t fill(const unique_fd& fd) {
  const std::string block(65'536, 'x');
  std::size_t all = 0;
  for (ssize_t sent = 0; sent >= 0; all += static_cast<std::size_t>(sent))
    if ((sent = ::send(fd.get(), block.data(), block.size(), MSG_NOSIGNAL)) < 0) break;
  return all;
}

}  // namespace sockmi::test
