// Directs the peer's packets to an endpoint, on whichever host the endpoint lives. This
// module handles packets and does not depend on images.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

struct Redirect {
  FourTuple tuple;
  IpAddress to;
  std::optional<std::chrono::milliseconds> expires_in;  // none: until removed
  // The connection has ended. Its last packets are still sent on, but a SYN with the same
  // addresses and ports begins a new connection here and removes the redirect. (A SYN may
  // also arrive for a connection that is alive, from a peer that has rebooted; the holder
  // of the connection answers it.)
  bool ended = false;
};

// A connection that lives here although its address is another host's. Without a peer: a
// port that has moved here.
struct ForeignAddress {
  FourTuple connection;
  // none: until a later call sets a time
  std::optional<std::chrono::milliseconds> expires_in;
};

// A foreign connection whose packets arrive here with our address `own`.
struct RewrittenDestination {
  FourTuple connection;  // without a peer: a listener's port
  IpAddress own;
};

// Steers connections in one network namespace.
class Steering {
 public:
  virtual ~Steering() = default;
  // Redirects connections: from this call on, no new packet of theirs reaches our network
  // stack. Home's rule sends each packet on to `to`, whether that host is on a link of
  // ours or behind a router. ICMP errors about the connections follow. Replaces older
  // redirects of the same connections in one step. Applies all redirects or none. With
  // `expires_in` the kernel itself drops the rule after that time; this serves for
  // connections that are not decided yet, and for lingering.
  virtual Result<> redirect(std::span<const Redirect> redirects) = 0;
  // No error for connections that are not redirected.
  virtual Result<> remove_redirects(std::span<const FourTuple> tuples) = 0;
  Result<> redirect(const FourTuple& tuple, const IpAddress& to,
                    std::optional<std::chrono::milliseconds> timeout) {
    const Redirect one{tuple, to, timeout};
    return redirect({&one, 1});
  }
  Result<> remove_redirect(const FourTuple& tuple) { return remove_redirects({&tuple, 1}); }
  // Returns the redirects as read from the kernel, without those of connections that have
  // ended.
  virtual Result<std::vector<Redirect>> redirects() = 0;
  // At home: declares that a frozen socket of this connection is here and gets its
  // packets, although the redirect still exists. If the socket disappears, the packets
  // are dropped. After `timeout`, or after cancel_return(), the redirect is in force
  // again. remove_redirects() ends both.
  virtual Result<> begin_return(const FourTuple& tuple, std::chrono::milliseconds timeout) = 0;
  virtual Result<> cancel_return(const FourTuple& tuple) = 0;
  // Must be called for each connection that arrives here, before it thaws: from then on
  // this host's firewall knows the connection. See net/conntrack.h.
  virtual Result<> track(const FourTuple& tuple, bool established) = 0;
  // Must be called when the connection has ended or has left this host.
  virtual Result<> untrack(const FourTuple& tuple, std::chrono::milliseconds linger) = 0;

  // A listener has moved: redirects all connections to its address and port to `to`,
  // except `exempt`, which still live here.
  virtual Result<> redirect_port(const SocketAddress& local, const IpAddress& to,
                                 std::span<const FourTuple> exempt) = 0;
  // Also removes the exemptions of connections that still live here.
  virtual Result<> remove_port_redirect(const SocketAddress& local) = 0;
  // Returns the ports as read from the kernel.
  virtual Result<std::vector<SocketAddress>> redirected_ports() = 0;
  // While a listener is being moved, clients that connect get no answer and try again.
  // The kernel itself ends this after `timeout`.
  virtual Result<> block_port(const SocketAddress& local, std::chrono::milliseconds timeout) = 0;
  virtual Result<> unblock_port(const SocketAddress& local) = 0;

  // The following functions concern foreign connections, which exist only in the daemon's
  // own namespace.

  // Drops packets of these foreign connections that match no socket of ours, so that they
  // are neither answered with RST nor forwarded back. This applies as long as their
  // address is another host's: if it becomes our own address, new connections to it are
  // ours to answer. ICMP errors about these connections are delivered here. All other
  // packets for those addresses are not touched, and are forwarded if this host is a
  // router.
  virtual Result<> add_foreign_addresses(std::span<const ForeignAddress> addresses) = 0;
  // Returns the foreign connections as read from the kernel.
  virtual Result<std::vector<ForeignAddress>> foreign_addresses() = 0;

  // Returns whether packets to this host go through a router. Redirected packets from a
  // home behind a router carry our address `own` as their destination.
  virtual Result<bool> is_routed(const IpAddress& host) = 0;
  // Restores the destination address in the packets of such connections. Errors:
  // EADDRINUSE if a connection that exists here has the same port and the same peer, and
  // only its home's address differs.
  virtual Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) = 0;
  // Ends this after `linger`.
  virtual Result<> stop_rewriting(std::span<const FourTuple> tuples, const IpAddress& own,
                                  std::chrono::milliseconds linger) = 0;
  // Does the same for all connections of a listener's port. Errors: EADDRINUSE if the
  // listener of another home has this port here.
  virtual Result<> rewrite_port(const SocketAddress& home, const IpAddress& own) = 0;
  virtual Result<> stop_rewriting_port(const SocketAddress& home, const IpAddress& own) = 0;
  // Returns the entries as read from the kernel, without those that only linger for the
  // last packets.
  virtual Result<std::vector<RewrittenDestination>> rewritten_destinations() = 0;

  // Sets whether our rules stay in the kernel when this object is destroyed. Without a
  // call they stay, so that a daemon that fails to start does not interrupt any
  // connection.
  virtual void keep(bool yes) = 0;
};

}  // namespace sockmi::steer
