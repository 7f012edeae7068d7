#include "tcp/socket_options.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>

#include "base/log.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72  // linux/socket.h from 5.16 on
#endif

namespace sockmi::tcp {
namespace {

struct Option {
  int level, name;
  const char* text;
  bool v6;  // only on IPv6 sockets
};

// Order matters on restoring: the three keepalive times come before the switch, CORK after NODELAY. Not here, because they are restored
// by steps of their own: SO_MARK and SO_REUSEADDR (freeze and repair change them), TCP_CONGESTION (before connect), buffers, O_NONBLOCK.
constexpr Option kOptions[] = {
    {SOL_SOCKET, SO_PRIORITY, "SO_PRIORITY", false},
    {SOL_SOCKET, SO_LINGER, "SO_LINGER", false},
    {SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE", false},
    {SOL_SOCKET, SO_RCVLOWAT, "SO_RCVLOWAT", false},
    {SOL_SOCKET, SO_RCVTIMEO, "SO_RCVTIMEO", false},
    {SOL_SOCKET, SO_SNDTIMEO, "SO_SNDTIMEO", false},
    {SOL_SOCKET, SO_INCOMING_CPU, "SO_INCOMING_CPU", false},
    {SOL_SOCKET, SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE", false},
    {SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT", false},
    {IPPROTO_IP, IP_TOS, "IP_TOS", false},
    {IPPROTO_IP, IP_TTL, "IP_TTL", false},
    {IPPROTO_IPV6, IPV6_TCLASS, "IPV6_TCLASS", true},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS", true},
    {IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY", false},
    {IPPROTO_TCP, TCP_CORK, "TCP_CORK", false},
    {IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE", false},
    {IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL", false},
    {IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT", false},
    {SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE", false},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT", false},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT", false},
    {IPPROTO_TCP, TCP_QUICKACK, "TCP_QUICKACK", false},
};

// Restored by restore.cc: it makes them larger for a while.
constexpr int kBufferOptions[] = {SO_RCVBUF, SO_SNDBUF, SO_BUF_LOCK};

// Pseudo-level for the flags of fcntl(2), which are not socket options but belong to the socket all the same.
constexpr int kFlagsLevel = -1;

std::unique_ptr<image::SocketOptionT> read(int fd, int level, int name) {
  std::uint8_t value[64];
  socklen_t size = sizeof value;
  if (::getsockopt(fd, level, name, value, &size) != 0) return nullptr;
  auto option = std::make_unique<image::SocketOptionT>();
  option->level = level;
  option->name = name;
  option->value.assign(value, value + size);
  return option;
}

}  // namespace

Result<> set_repair(int fd, int mode) { return set(fd, IPPROTO_TCP, TCP_REPAIR, mode, "TCP_REPAIR"); }
Result<> select_queue(int fd, int queue) { return set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue, "TCP_REPAIR_QUEUE"); }

Result<std::uint32_t> queue_sequence(int fd, int queue) {
  TRY(select_queue(fd, queue));
  return get<std::uint32_t>(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ");
}

void capture_options(int fd, image::TcpT& image) {
  image.options.clear();
  const bool v6 = image.local_ip.size() == 16;
  for (const Option& option : kOptions)
    if (v6 || !option.v6)
      if (auto value = read(fd, option.level, option.name)) image.options.push_back(std::move(value));
  for (const int name : kBufferOptions)
    if (auto value = read(fd, SOL_SOCKET, name)) image.options.push_back(std::move(value));
  auto flags = std::make_unique<image::SocketOptionT>();
  flags->level = kFlagsLevel;
  flags->value.push_back((::fcntl(fd, F_GETFL) & O_NONBLOCK) ? 1 : 0);
  image.options.push_back(std::move(flags));
}

void restore_options(int fd, const image::TcpT& image) {
  for (const auto& option : image.options) {
    if (!option || option->value.empty()) continue;
    if (option->level == kFlagsLevel) {
      const int flags = ::fcntl(fd, F_GETFL);
      ::fcntl(fd, F_SETFL, option->value[0] ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
      continue;
    }
    // Only what the table names is set: an image must not reach any other option.
    const auto known = std::ranges::find_if(kOptions, [&](const Option& o) { return o.level == option->level && o.name == option->name; });
    if (known == std::end(kOptions)) continue;
    if (::setsockopt(fd, option->level, option->name, option->value.data(), static_cast<socklen_t>(option->value.size())) != 0)
      log::debug("event=option_not_restored option={} errno={}", known->text, errno);
  }
}

}  // namespace sockmi::tcp
