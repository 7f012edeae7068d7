// A connection inside one network namespace of the test: `mover` is the end that moves,
// `peer` the other.
#pragma once

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "base/address.h"
#include "base/unique_fd.h"
#include "tcp/capture.h"
#include "tcp/restore.h"
#include "tcp/states.h"

namespace sockmi::tcp {

constexpr Marks kMarks{.freeze = 0x5e, .inject = 0x5f};

// Does what steering does on real hosts. What a socket with the freeze mark sends is
// dropped. Between the end of a socket and its restoring the kernel would answer the peer
// by an RST; here that RST, which has no owner, is dropped.
inline bool steer() {
  return std::system(
             "nft 'table inet unit { chain out { type filter hook output priority 0; meta mark "
             "0x5e drop; "
             "tcp flags & rst == rst meta skuid >= 0 accept; tcp flags & rst == rst drop; }; }'") ==
         0;
}

inline bool enter_namespace() {
  static const bool entered = [] {
    const auto uid = ::getuid();
    if (::unshare(CLONE_NEWNET) != 0) {
      if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
      std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    }
    const unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq up{};
    std::strcpy(up.ifr_name, "lo");
    up.ifr_flags = IFF_UP | IFF_RUNNING;
    return ::ioctl(any.get(), SIOCSIFFLAGS, &up) == 0 && steer();
  }();
  return entered;
}

// The addresses of the connection: "127.0.0.1", "::1", or "::ffff:127.0.0.1" (IPv6
// sockets, IPv4 packets).
inline const char* const kFamilies[] = {"127.0.0.1", "::1", "::ffff:127.0.0.1"};

inline int value_of(int fd, int level, int name) {
  int out = -1;
  socklen_t size = sizeof out;
  return ::getsockopt(fd, level, name, &out, &size) == 0 ? out : -errno;
}

inline int state_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  return info.tcpi_state;
}

inline std::uint32_t retransmissions(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  return info.tcpi_total_retrans;
}

inline std::size_t queued(int fd, unsigned long request) {
  int out = 0;
  return ::ioctl(fd, request, &out) == 0 ? static_cast<std::size_t>(out) : 0;
}

// Waits until the condition holds. Returns whether it ever did. TCP has no event for a
// state, so this checks again after each pause.
template <class Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    ::poll(nullptr, 0, 2);
  }
  return false;
}

struct Connection {
  unique_fd listener, mover, peer;
  SocketAddress address;  // of the listener and the mover

  static sockaddr_storage name(const SocketAddress& of, socklen_t& size) {
    sockaddr_storage out;
    size = of.to(out);
    return out;
  }

  static unique_fd listen(SocketAddress& at, int backlog = 8) {
    socklen_t size;
    auto raw = name(at, size);
    unique_fd fd(::socket(at.ip.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&raw), size), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd.get(), backlog), 0);
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&raw), &size);
    at = SocketAddress::from(reinterpret_cast<sockaddr*>(&raw));
    return fd;
  }

  static unique_fd connect(const SocketAddress& to, int flags = 0) {
    socklen_t size;
    const auto raw = name(to, size);
    unique_fd fd(::socket(to.ip.family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    EXPECT_TRUE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&raw), size) == 0 ||
                errno == EINPROGRESS)
        << std::strerror(errno);
    return fd;
  }

  static Connection make(const char* ip = "127.0.0.1") {
    Connection out;
    out.address = {*IpAddress::parse(ip), 0};
    out.listener = listen(out.address);
    out.peer = connect(out.address);
    out.mover.reset(::accept4(out.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_TRUE(out.mover);
    return out;
  }
};

// The fixture of most tests: a connection in a network namespace of the test, one end of
// which (the mover) moves.
class ConnectionTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "no network namespace to be had here";
    pair_ = Connection::make(GetParam());
  }

  Connection pair_;
  unique_fd &mover_ = pair_.mover, &peer_ = pair_.peer;
};

// The two halves of a move.
inline wire::TcpT export_image(unique_fd& socket) {
  auto frozen = FrozenSocket::freeze(socket.get(), kMarks);
  auto image = frozen ? frozen->capture() : pass(std::move(frozen));
  EXPECT_TRUE(image) << to_string(image.error());
  EXPECT_TRUE(image && frozen->destroy_silently());
  socket.reset();
  return image ? std::move(*image) : wire::TcpT();
}

inline unique_fd thawed(Result<RestoredSocket>&& restored) {
  EXPECT_TRUE(restored) << to_string(restored.error());
  auto live = restored ? std::move(*restored).thaw() : pass(std::move(restored));
  EXPECT_TRUE(live) << to_string(live.error());
  return live ? std::move(*live) : unique_fd();
}

inline unique_fd import_image(const wire::TcpT& image) {
  return thawed(RestoredSocket::restore(image, kMarks, false));
}

inline void move(unique_fd& socket) {
  socket = import_image(export_image(socket));
}

inline void send_text(int fd, const std::string& text) {
  ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

inline std::string read_text(int fd, std::size_t size) {
  std::string text(size, 0);
  const ssize_t got = ::recv(fd, text.data(), size, MSG_WAITALL);
  return text.substr(0, static_cast<std::size_t>(std::max<ssize_t>(0, got)));
}

// Returns the byte at position `place` of a test's stream.
inline char byte_at(std::size_t place) {
  return static_cast<char>(place * 2654435761u >> 13);
}

// Writes until nothing more is accepted. Returns what was written.
inline std::string fill_up(int fd) {
  std::string all;
  for (;;) {
    const std::string piece(10'007, static_cast<char>('a' + all.size() / 10'007 % 26));
    const ssize_t sent = ::send(fd, piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return all;
    all.append(piece, 0, static_cast<std::size_t>(sent));
  }
}

// Returns all bytes until the end of the stream.
inline std::string read_to_end(int fd) {
  std::string all, piece(1 << 16, 0);
  for (ssize_t got; (got = ::recv(fd, piece.data(), piece.size(), 0)) > 0;)
    all.append(piece, 0, static_cast<std::size_t>(got));
  return all;
}

inline bool readable(int fd, int milliseconds = 10'000) {
  pollfd wanted{fd, POLLIN, 0};
  return ::poll(&wanted, 1, milliseconds) == 1;
}

}  // namespace sockmi::tcp
