// What kind of socket a descriptor is: the check at the door, before anything is done to it.
#pragma once

#include <cstdint>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::tcp {

struct SocketInfo {
  FourTuple tuple;           // v4-mapped addresses as IPv6, as the socket has them; no remote address if it is bound or listening
  std::uint8_t state = 0;    // of states.h; kClose: bound
  std::uint64_t received = 0;  // bytes, in order, since the connection or this socket of it began
  std::uint64_t cookie = 0;  // SO_COOKIE: names the socket for its whole life
  bool connected() const { return !tuple.remote.ip.any(); }
};

// Errors: EBADF, ENOTSOCK (a file), EPROTONOSUPPORT (a socket, but not TCP), ENOTCONN (closed, or never bound).
Result<SocketInfo> socket_info(int fd);
// What tells it from every other socket; also when its connection has ended.
Result<std::uint64_t> cookie_of(int fd);

}  // namespace sockmi::tcp
