#include "sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace mover {
namespace {

sockaddr_in parse(const std::string& address) {
  const auto colon = address.rfind(':');
  sockaddr_in out{};
  out.sin_family = AF_INET;
  if (colon == std::string::npos ||
      inet_pton(AF_INET, address.substr(0, colon).c_str(), &out.sin_addr) != 1)
    throw Failure(address + ": not ADDRESS:PORT");
  out.sin_port = htons(static_cast<std::uint16_t>(std::stoul(address.substr(colon + 1))));
  return out;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  if (path.size() >= sizeof out.sun_path) throw Failure(path + ": too long for a socket");
  std::memcpy(out.sun_path, path.data(), path.size());
  return out;
}

Fd make(int family) {
  Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) fail_errno("socket");
  return fd;
}

template <class Address>
Fd listening(Fd fd, const Address& at, const std::string& name) {
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      ::listen(fd.get(), 8) != 0)
    fail_errno("listen at " + name);
  return fd;
}

template <class Address>
Fd connected(Fd fd, const Address& to, const std::string& name) {
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    fail_errno("connect to " + name);
  return fd;
}

}  // namespace

void fail_errno(const std::string& what) {
  throw Failure(what + ": " + std::strerror(errno));
}

Fd listen_tcp(const std::string& address) {
  Fd fd = make(AF_INET);
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  return listening(std::move(fd), parse(address), address);
}

Fd connect_tcp(const std::string& address) {
  return connected(make(AF_INET), parse(address), address);
}

Fd listen_unix(const std::string& path) {
  ::unlink(path.c_str());
  return listening(make(AF_UNIX), unix_address(path), path);
}

Fd connect_unix(const std::string& path) {
  return connected(make(AF_UNIX), unix_address(path), path);
}

Fd accept_one(const Fd& listener) {
  Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) fail_errno("accept");
  return fd;
}

void set_relaying(const Fd& fd) {
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

}  // namespace mover
