// Directs the peer's packets to an endpoint, on whichever host the endpoint lives. This
// module handles packets and does not depend on images.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/freeze_mark.h"

namespace sockmi::steer {

using sockmi::kFreezeMark;
// Packet mark: deliver to a socket here, although the address is another host's.
inline constexpr std::uint32_t kDeliverMark = 0x736b0002;
// Packet mark: a segment that we inject for a socket here (it passes the freeze).
inline constexpr std::uint32_t kInjectMark = 0x736b0003;
// Packet mark: a packet of a connection that is returning home.
inline constexpr std::uint32_t kReturningMark = 0x736b0004;

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
  FourTuple guest;
  // none: until a later call sets a time
  std::optional<std::chrono::milliseconds> expires_in;
};

struct Readdressed {
  FourTuple guest;  // without a peer: a listener's port
  IpAddress own;
};

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
  // except `staying`, which still live here.
  virtual Result<> redirect_port(const SocketAddress& local, const IpAddress& to,
                                 std::span<const FourTuple> staying) = 0;
  // Also removes the exemptions of connections that stay here.
  virtual Result<> remove_port_redirect(const SocketAddress& local) = 0;
  // Returns the ports as read from the kernel.
  virtual Result<std::vector<SocketAddress>> redirected_ports() = 0;
  // Exempts connections from the redirect of their port, because they still live here;
  // unstay() ends the exemption.
  virtual Result<> stay(std::span<const FourTuple> tuples) = 0;
  virtual Result<> unstay(std::span<const FourTuple> tuples) = 0;
  // While a listener is being moved, clients that connect get no answer and try again.
  // The kernel itself ends this after `timeout`.
  virtual Result<> block_port(const SocketAddress& local, std::chrono::milliseconds timeout) = 0;
  virtual Result<> unblock_port(const SocketAddress& local) = 0;

  // Drops packets of these foreign connections that match no socket of ours, so that they
  // are neither answered with RST nor forwarded back. This applies as long as their
  // address is another host's: if it becomes our own address, new connections to it are
  // ours to answer. ICMP errors about these connections are delivered here. All other
  // packets for those addresses are not touched, and are forwarded if this host is a
  // router.
  virtual Result<> add_foreign_address(std::span<const ForeignAddress> guests) = 0;
  // Returns the foreign connections as read from the kernel.
  virtual Result<std::vector<ForeignAddress>> sheltered() = 0;

  // Returns whether packets to this host go through a router. Redirected packets from a
  // home behind a router carry our address `own` as their destination.
  virtual Result<bool> is_routed(const IpAddress& host) = 0;
  // Restores the destination address in the packets of such connections. Errors:
  // EADDRINUSE if a connection that exists here has the same port and the same peer, and
  // only its home's address differs.
  virtual Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) = 0;
  // Lets these entries expire after `linger`.
  virtual Result<> remove_readdress(std::span<const FourTuple> tuples, const IpAddress& own,
                                    std::chrono::milliseconds linger) = 0;
  // Does the same for all connections of a listener's port. Errors: EADDRINUSE if the
  // listener of another home has this port here.
  virtual Result<> readdress_port(const SocketAddress& home, const IpAddress& own) = 0;
  virtual Result<> remove_readdress_port(const SocketAddress& home, const IpAddress& own) = 0;
  // Returns the entries as read from the kernel, without those that only linger for the
  // last packets.
  virtual Result<std::vector<Readdressed>> readdressed() = 0;

  // Sets whether our rules stay in the kernel when this object is destroyed. Without a
  // call they stay, so that a daemon that fails to start does not interrupt any
  // connection.
  virtual void keep(bool yes) = 0;
};

// Creates the implementation. It uses the tables "netdev sockmi" and "inet sockmi", a
// routing rule and a routing table, all of our own. They are set up here, and are removed
// with the object or kept (see keep()). `interfaces` are those by which the peers'
// packets come in. What an earlier daemon left is taken over: its redirects and foreign
// addresses stay in force, even if its rules differ from ours and are replaced. `daemon`:
// the network namespace in which the daemon lives, if it is not this one; the tables
// carry its number.
Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces,
                                                    ino_t daemon = 0);

// Removes everything that a dead daemon left in this network namespace. Errors:
// EADDRINUSE if a daemon is alive.
Result<> flush();

// Blocks until all packets that had passed our hooks before the call have been processed
// (membarrier). After it, no straggler can reach a socket, or be answered because there
// is no socket. Takes microseconds if the kernel lets us expedite it, otherwise 7-15 ms.
// Call it off the event loop and outside the freeze.
Result<> barrier();
// Returns "expedited" or "plain". The first call also resets the switch that a killed
// process may have left set.
const char* barrier_form();

}  // namespace sockmi::steer
