#include "tcp/socket_info.h"

#include <linux/tcp.h>
#include <poll.h>

#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

// getpeername(2) does not return a peer in SYN_SENT; SO_PEERNAME does, but only into a
// buffer of exactly the size it needs.
Result<SocketAddress> peer_name(int fd, int family) {
  sockaddr_storage address{};
  socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &address, &size) != 0)
    return fail_errno("cannot read SO_PEERNAME");
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&address));
}

// Otherwise a connection that has ended looks like a bound socket.
bool has_ended(int fd) {
  return poll_now(fd, POLLRDHUP) & (POLLRDHUP | POLLERR);
}

}  // namespace

Result<std::uint64_t> cookie_of(int fd) {
  return get<std::uint64_t>(fd, SOL_SOCKET, SO_COOKIE, "SO_COOKIE");
}

Result<SocketInfo> socket_info(int fd) {
  TRY_LET(protocol, get<int>(fd, SOL_SOCKET, SO_PROTOCOL, "the descriptor"));
  SocketInfo facts;
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return fail_errno("cannot read the socket's address");
  if (protocol != IPPROTO_TCP || (address.ss_family != AF_INET && address.ss_family != AF_INET6))
    return fail(EPROTONOSUPPORT, "socket is not TCP");
  facts.tuple.local = SocketAddress::from(reinterpret_cast<const sockaddr*>(&address));
  TRY_LET(info, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
  facts.state = info.tcpi_state;
  facts.received = info.tcpi_bytes_received;
  TRY_LET(cookie, cookie_of(fd));
  facts.cookie = cookie;
  if (facts.state == kClose) {
    if (has_ended(fd)) return fail(ENOTCONN, "connection is closed");
    if (facts.tuple.local == SocketAddress{.ip = {.family = address.ss_family}})
      return fail(ENOTCONN, "socket is neither bound nor connected");
  } else if (facts.state != kListen) {
    TRY_LET(remote, peer_name(fd, address.ss_family));
    facts.tuple.remote = remote;
  }
  return facts;
}

}  // namespace sockmi::tcp
