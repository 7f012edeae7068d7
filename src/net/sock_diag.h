// Reads, and destroys, the TCP sockets of this network namespace, by sock_diag.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::net {

struct TcpSocket {
  std::uint64_t cookie = 0;
  // remote is any() if the socket has no peer. The ports are 0 if the socket was
  // disconnected before it was destroyed; then only the cookie identifies it.
  FourTuple tuple;
  std::uint8_t state = 0;   // TCP_ESTABLISHED, ...
  std::uint32_t inode = 0;  // 0: no application has the socket any more
  std::uint32_t mark = 0;   // SO_MARK
  bool is_signed = false;   // has keys of TCP-MD5 (RFC 2385)
  std::uint32_t uid = 0;    // the user who created it
};

// Returns all sockets that are alive, by cookie. Excludes those in TIME_WAIT. Sockets
// that are only bound are included by Linux 6.8 and later.
Result<std::map<std::uint64_t, TcpSocket>> all_sockets();
// Returns the connections with this local address that an application has open, or that
// still have data or a FIN to send. Excludes listeners.
Result<std::vector<TcpSocket>> connections_at(const IpAddress& local);
// Returns the connections with that local port and that local address. The wildcard
// address stands for any.
Result<std::vector<TcpSocket>> connections_of(const SocketAddress& local);
// Returns the socket of exactly this connection; without a peer, the socket bound to this
// address. Errors: ENOENT if there is none.
Result<TcpSocket> find_socket(const FourTuple& tuple);
// Returns the socket with this cookie, which has this connection, or this local address
// and no peer. Several sockets without a peer may have the same address. Errors: ENOENT
// if there is none.
Result<TcpSocket> find_by_cookie(const FourTuple& tuple, std::uint64_t cookie);
// Destroys that socket (SOCK_DESTROY) if it still has this connection and cookie;
// otherwise does nothing. If the socket is frozen, the segment that it would send to its
// peer is dropped.
Result<> destroy(const FourTuple& tuple, std::uint64_t cookie);

// Notices that sockets have ended, by notifications from the kernel (sock_diag's destroy
// groups). There is no polling. A notification is lost only if the buffer is full, which
// the kernel reports. fd() is readable when ended() has something to return.
class SocketEnds {
 public:
  static Result<std::unique_ptr<SocketEnds>> open();
  virtual ~SocketEnds() = default;
  virtual int fd() const = 0;
  // Returns the TCP sockets that have ended since the last call. Errors: ENOBUFS if
  // notifications were lost; then look up each socket of interest in all_sockets().
  virtual Result<std::vector<TcpSocket>> ended() = 0;
};

}  // namespace sockmi::net
