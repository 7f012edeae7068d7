// The TCP sockets of this network namespace, as sock_diag shows them.
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
  FourTuple tuple;         // remote is any() if it has no peer. Without ports if it was killed silently: then only its cookie tells which it was
  std::uint8_t state = 0;  // TCP_ESTABLISHED, ...
  std::uint32_t inode = 0;  // 0: no application has it any more
  std::uint32_t mark = 0;   // SO_MARK
  bool is_signed = false;   // has keys of TCP-MD5 (RFC 2385)
};

// All that are alive, by cookie. Not those in TIME_WAIT; those only bound, from Linux 6.8 on.
Result<std::map<std::uint64_t, TcpSocket>> all_sockets();
// Connections from or to this address that have a socket or unsent data. No listeners.
Result<std::vector<TcpSocket>> connections_at(const IpAddress& local);
// Connections with that local port, and that local address unless it is the wildcard.
Result<std::vector<TcpSocket>> connections_of(const SocketAddress& local);
// The socket of this very connection, or without a peer. ENOENT: none lives here.
Result<TcpSocket> find_socket(const FourTuple& tuple);
// By its cookie, which is that of a socket with this connection, or with this local address and no peer: several may have that.
Result<TcpSocket> find_by_cookie(const FourTuple& tuple, std::uint64_t cookie);
// Ends that socket, if it is this one still (SOCK_DESTROY). What it would tell its peer is dropped if it is mute.
Result<> destroy(const FourTuple& tuple, std::uint64_t cookie);

// Notices the end of sockets by the kernel's own word (sock_diag's destroy groups): no polling, and no way to miss it but a full buffer, which it
// says too. fd() polls readable when ended() has something.
class SocketEnds {
 public:
  static Result<std::unique_ptr<SocketEnds>> open();
  virtual ~SocketEnds() = default;
  virtual int fd() const = 0;
  // The TCP sockets that ended since the last call. ENOBUFS: some were missed; see in all_sockets() for each one you watch.
  virtual Result<std::vector<TcpSocket>> ended() = 0;
};

}  // namespace sockmi::net
