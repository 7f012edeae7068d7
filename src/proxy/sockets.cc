#include "proxy/sockets.h"

#include <netinet/tcp.h>
#include <sys/stat.h>

#include <cstring>

namespace sockmi::proxy {
namespace {

// A peer that has disappeared is noticed after about 90 s, also if the connection is
// idle.
constexpr int kKeepIdleSeconds = 60, kKeepIntervalSeconds = 10, kKeepProbes = 3;

void set(int fd, int level, int option, int value) {
  (void)::setsockopt(fd, level, option, &value, sizeof value);
}

void tune(int fd, int family) {
  if (family == AF_UNIX) return;
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdleSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepIntervalSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepProbes);
}

Result<unique_fd> open_socket(int family) {
  unique_fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("cannot open a socket");
  return fd;
}

// Removes a socket file to which nobody listens.
void remove_stale(const StreamAddress& address) {
  struct stat found {};
  if (::lstat(address.path.c_str(), &found) != 0 || !S_ISSOCK(found.st_mode)) return;
  const auto probe = begin_connect(address);
  if (!probe && probe.error().code == ECONNREFUSED) ::unlink(address.path.c_str());
}

SocketAddress from(const sockaddr_storage& address) {
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) return {};
  auto found = SocketAddress::from(reinterpret_cast<const sockaddr*>(&address));
  found.ip = found.ip.unmapped();
  return found;
}

}  // namespace

Result<unique_fd> open_listener(const StreamAddress& address, bool v6only, int backlog) {
  TRY_LET(fd, open_socket(address.family()));
  if (address.family() == AF_UNIX) remove_stale(address);
  if (address.family() == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, v6only);
  if (address.family() != AF_UNIX) set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  sockaddr_storage to{};
  const socklen_t size = address.to(to);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to), size) != 0)
    return fail_errno("cannot bind to " + to_string(address));
  // Who may connect is the matter of the folder.
  if (address.family() == AF_UNIX && ::chmod(address.path.c_str(), 0666) != 0)
    return fail_errno("cannot set the mode of " + to_string(address));
  if (::listen(fd.get(), backlog) != 0) return fail_errno("cannot listen at " + to_string(address));
  return fd;
}

Result<unique_fd> accept_from(int listener) {
  sockaddr_storage from{};
  socklen_t size = sizeof from;
  unique_fd fd(
      ::accept4(listener, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return fail_errno("cannot accept");
  tune(fd.get(), from.ss_family);
  return fd;
}

Result<unique_fd> begin_connect(const StreamAddress& address) {
  TRY_LET(fd, open_socket(address.family()));
  tune(fd.get(), address.family());
  sockaddr_storage to{};
  const socklen_t size = address.to(to);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), size) != 0 &&
      errno != EINPROGRESS)
    return fail_errno("cannot connect to " + to_string(address));
  return fd;
}

Result<> finish_connect(int fd, const StreamAddress& address) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  errno = error;
  if (error != 0) return fail_errno("cannot connect to " + to_string(address));
  return {};
}

SocketAddress local_address(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return from(address);
}

SocketAddress peer_address(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return from(address);
}

}  // namespace sockmi::proxy
