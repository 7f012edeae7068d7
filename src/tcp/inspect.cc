#include "tcp/inspect.h"

#include <linux/tcp.h>
#include <sys/stat.h>

#include "tcp/socket_options.h"

namespace sockmi::tcp {

Result<Facts> inspect(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno("the descriptor");
  if (!S_ISSOCK(status.st_mode)) return fail(ENOTSOCK, "the descriptor is no socket");
  TRY_LET(domain, get<int>(fd, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN"));
  TRY_LET(type, get<int>(fd, SOL_SOCKET, SO_TYPE, "SO_TYPE"));
  TRY_LET(protocol, get<int>(fd, SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"));
  if ((domain != AF_INET && domain != AF_INET6) || type != SOCK_STREAM || protocol != IPPROTO_TCP)
    return fail(EPROTONOSUPPORT, "the socket is not TCP");
  Facts facts;
  TRY_LET(info, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
  facts.state = info.tcpi_state;
  TRY_LET(cookie, get<std::uint64_t>(fd, SOL_SOCKET, SO_COOKIE, "SO_COOKIE"));
  facts.cookie = cookie;
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return fail(ENOTCONN, "the socket is not connected");
  facts.tuple.remote = SocketAddress::from(reinterpret_cast<const sockaddr*>(&address));
  size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return fail_errno("getsockname");
  facts.tuple.local = SocketAddress::from(reinterpret_cast<const sockaddr*>(&address));
  return facts;
}

}  // namespace sockmi::tcp
