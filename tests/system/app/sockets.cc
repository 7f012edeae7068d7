// Commands that create sockets, change them, and examine them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>

#include "app.h"

namespace app {
namespace {

constexpr const char* kStates[] = {
    "",      "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",   "TIME_WAIT",
    "CLOSE", "CLOSE_WAIT",  "LAST_ACK", "LISTEN",   "CLOSING",   "NEW_SYN_RECV"};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  sockaddr* pointer() { return reinterpret_cast<sockaddr*>(&storage); }
};

Address parse(const std::string& ip, int port) {
  Address out;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  const auto number = htons(static_cast<std::uint16_t>(port));
  if (::inet_pton(AF_INET, ip.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = number;
    out.size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = number;
    out.size = sizeof *v6;
  } else {
    throw std::invalid_argument(ip + " is no address");
  }
  return out;
}

// Returns [ADDRESS, PORT], or null if there is none.
Json text(int fd, int (*name)(int, sockaddr*, socklen_t*)) {
  Address a;
  if (name(fd, a.pointer(), &a.size) != 0) return nullptr;
  const bool v6 = a.storage.ss_family == AF_INET6;
  const auto* in = reinterpret_cast<sockaddr_in*>(&a.storage);
  const auto* in6 = reinterpret_cast<sockaddr_in6*>(&a.storage);
  char ip[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(a.storage.ss_family, v6 ? static_cast<const void*>(&in6->sin6_addr) : &in->sin_addr,
              ip, sizeof ip);
  return {ip, ntohs(v6 ? in6->sin6_port : in->sin_port)};
}

Json queued(int fd, unsigned long request) {
  int bytes = 0;
  return ::ioctl(fd, request, &bytes) == 0 ? Json(bytes) : Json(nullptr);
}

Json connect_to(int fd, Words& words, int flags) {
  const std::string ip = words.word();
  Address to = parse(ip, words.small());
  const int old = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, old | flags);
  const int done = ::connect(fd, to.pointer(), to.size);
  const int error = errno;
  ::fcntl(fd, F_SETFL, old);
  errno = error;
  if (done != 0 && !(flags && errno == EINPROGRESS)) fail_errno("connect");
  return Json::object();
}

}  // namespace

bool wait_ready(int fd, short events, int timeout) {
  pollfd polled{fd, events, 0};
  const int ready = ::poll(&polled, 1, timeout);
  if (ready < 0) fail_errno("poll");
  return ready > 0;
}

Json make_socket(Words& words) {
  const int fd = ::socket(words.word() == "4" ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail_errno("socket");
  return {{"fd", fd}};
}

Json bind(Words& words) {
  const int fd = words.small();
  const std::string ip = words.word();
  Address at = parse(ip, words.small());
  if (::bind(fd, at.pointer(), at.size) != 0) fail_errno("bind");
  return Json::object();
}

Json listen(Words& words) {
  const int fd = words.small();
  if (::listen(fd, words.small()) != 0) fail_errno("listen");
  return Json::object();
}

Json connect(Words& words) {
  const int fd = words.small();
  return connect_to(fd, words, 0);
}

Json connect_later(Words& words) {
  const int fd = words.small();
  return connect_to(fd, words, O_NONBLOCK);
}

Json wait_connected(Words& words) {
  const int fd = words.small();
  errno = ETIMEDOUT;
  if (!wait_ready(fd, POLLOUT, words.small())) fail_errno("connect");
  socklen_t size = sizeof errno;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno, &size) != 0 || errno != 0)
    fail_errno("connect");
  return Json::object();
}

Json disconnect(Words& words) {
  const sockaddr none{};
  if (::connect(words.small(), &none, sizeof none) != 0) fail_errno("disconnect");
  return Json::object();
}

Json accept(Words& words) {
  const int listener = words.small();
  errno = ETIMEDOUT;
  if (!wait_ready(listener, POLLIN, words.small())) fail_errno("accept");
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) fail_errno("accept");
  return {{"fd", fd}, {"peer", text(fd, ::getpeername)}};
}

Json shut_down(Words& words) {
  if (::shutdown(words.small(), SHUT_WR) != 0) fail_errno("shutdown");
  return Json::object();
}

Json close(Words& words) {
  if (::close(words.small()) != 0) fail_errno("close");
  return Json::object();
}

Json state(Words& words) {
  const int fd = words.small();
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) fail_errno("TCP_INFO");
  return {{"state", kStates[info.tcpi_state]},
          {"local", text(fd, ::getsockname)},
          {"peer", text(fd, ::getpeername)},
          {"unread", queued(fd, SIOCINQ)},
          {"unacknowledged", queued(fd, SIOCOUTQ)},
          {"unsent", queued(fd, SIOCOUTQNSD)},
          {"negotiated", info.tcpi_options},
          {"snd_wscale", int(info.tcpi_snd_wscale)},
          {"rcv_wscale", int(info.tcpi_rcv_wscale)},
          {"snd_mss", info.tcpi_snd_mss},
          {"rcv_mss", info.tcpi_rcv_mss},
          {"advmss", info.tcpi_advmss},
          {"pmtu", info.tcpi_pmtu},
          {"cwnd", info.tcpi_snd_cwnd},
          {"ssthresh", info.tcpi_snd_ssthresh},
          {"snd_wnd", info.tcpi_snd_wnd},
          {"rcv_space", info.tcpi_rcv_space},
          {"retransmits", info.tcpi_total_retrans},
          {"rtt_us", info.tcpi_rtt},
          {"waiting", info.tcpi_unacked},
          {"backlog", info.tcpi_sacked}};  // the last two: of a listener
}

Json set_option(Words& words) {
  const int fd = words.small(), level = words.small(), name = words.small();
  const std::string hex = words.word();
  std::vector<unsigned char> value;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2)
    value.push_back(static_cast<unsigned char>(std::stoi(hex.substr(at, 2), nullptr, 16)));
  if (::setsockopt(fd, level, name, value.data(), static_cast<socklen_t>(value.size())) != 0)
    fail_errno("setsockopt");
  return Json::object();
}

Json get_option(Words& words) {
  const int fd = words.small(), level = words.small(), name = words.small();
  unsigned char value[512] = {};
  socklen_t size = sizeof value;
  if (::getsockopt(fd, level, name, value, &size) != 0) fail_errno("getsockopt");
  std::string hex;
  for (socklen_t at = 0; at < size; ++at) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", value[at]);
    hex += digits;
  }
  return {{"value", hex}};
}

}  // namespace app
