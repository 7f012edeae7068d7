// Identifies the socket behind a descriptor: the first check, before anything is done to
// it.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::tcp {

struct SocketInfo {
  // IPv4-mapped addresses as IPv6, as the socket has them; no remote address if it is
  // bound or listening.
  FourTuple tuple;
  std::uint8_t state = 0;  // of states.h; kClose: bound
  // Bytes received in order since the connection began, or since this socket of it was
  // created.
  std::uint64_t received = 0;
  std::uint64_t cookie = 0;  // SO_COOKIE: identifies the socket during its whole life
  bool connected() const { return !tuple.remote.ip.any(); }
};

// Errors: EBADF; ENOTSOCK if it is a file; EPROTONOSUPPORT if it is a socket, but not
// TCP; ENOTCONN if it is closed, or was never bound.
Result<SocketInfo> socket_info(int fd);
// Returns the number that identifies the socket, even if its connection has ended.
Result<std::uint64_t> cookie_of(int fd);

}  // namespace sockmi::tcp
