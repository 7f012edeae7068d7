// Makes the peer's packets reach an endpoint wherever it lives. Knows packets, nothing of images.
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
inline constexpr std::uint32_t kDeliverMark = 0x736b0002;  // packet mark: to a socket here, though the address is another host's
inline constexpr std::uint32_t kInjectMark = 0x736b0003;   // packet mark: a segment that we inject for a socket here (past the freeze)
inline constexpr std::uint32_t kComingMark = 0x736b0004;   // packet mark: of a connection that comes home

struct Redirect {
  FourTuple tuple;
  IpAddress to;
  std::optional<std::chrono::milliseconds> expires_in;  // none: until removed
  // The connection has ended: its last packets are sent on, but a SYN of the same addresses and ports begins another one, which is ours, and removes
  // the redirect. (To a connection that lives a SYN may come too, from a peer that has lost its memory: its holder answers.)
  bool ended = false;
};

// A connection that lives here though its address is another host's; without a peer, a port that has moved here.
struct ForeignAddress {
  FourTuple guest;
  std::optional<std::chrono::milliseconds> expires_in;  // none: until this is said again, with a time
};

struct Readdressed {
  FourTuple guest;  // without a peer: a listener's port
  IpAddress own;
};

class Steering {
 public:
  virtual ~Steering() = default;
  // From here no new packet of these connections reaches our stack: home's rule sends it on to `to`, whether that host is on a segment of
  // ours or behind a router. ICMP errors about them follow. Replaces older redirects of the same connections in one step; all or none. With
  // `expires_in` the kernel itself drops the rule after that time: for the undecided, and for lingering.
  virtual Result<> redirect(std::span<const Redirect> redirects) = 0;
  virtual Result<> remove_redirects(std::span<const FourTuple> tuples) = 0;  // no error for those that are not there
  Result<> redirect(const FourTuple& tuple, const IpAddress& to, std::optional<std::chrono::milliseconds> timeout) {
    const Redirect one{tuple, to, timeout};
    return redirect({&one, 1});
  }
  Result<> remove_redirect(const FourTuple& tuple) { return remove_redirects({&tuple, 1}); }
  virtual Result<std::vector<Redirect>> redirects() = 0;  // as the kernel has them
  // At home: a frozen socket of this connection is here, and gets its packets although the redirect is still there. Should the socket go, they are
  // dropped; after `timeout`, or cancel_return(), the redirect is in force again. remove_redirects() ends both.
  virtual Result<> begin_return(const FourTuple& tuple, std::chrono::milliseconds timeout) = 0;
  virtual Result<> cancel_return(const FourTuple& tuple) = 0;
  // To be called for each connection that arrives here, before it thaws: firewalls of this host know it from then on. See tracking.h.
  virtual Result<> track(const FourTuple& tuple, bool established) = 0;
  // And when it has ended, or gone.
  virtual Result<> untrack(const FourTuple& tuple, std::chrono::milliseconds linger) = 0;

  // A listener has moved: all connections to its address and port go to `to`, but for those that live on here.
  virtual Result<> redirect_port(const SocketAddress& local, const IpAddress& to, std::span<const FourTuple> staying) = 0;
  virtual Result<> remove_port_redirect(const SocketAddress& local) = 0;  // forgets who stays, too
  virtual Result<std::vector<SocketAddress>> redirected_ports() = 0;      // as the kernel has them
  virtual Result<> stay(std::span<const FourTuple> tuples) = 0;
  virtual Result<> unstay(std::span<const FourTuple> tuples) = 0;
  // While a listener is being moved, who connects gets no answer, and asks again. The kernel itself ends it after `timeout`.
  virtual Result<> block_port(const SocketAddress& local, std::chrono::milliseconds timeout) = 0;
  virtual Result<> unblock_port(const SocketAddress& local) = 0;

  // Packets of these guests that belong to no socket of ours are dropped (never answered by RST, never forwarded back), as long as their address is
  // another host's: should it become our own, new connections to it are ours to answer. ICMP errors about them are delivered here. All else for
  // those addresses is none of ours, and goes its way if this host forwards packets.
  virtual Result<> add_foreign_address(std::span<const ForeignAddress> guests) = 0;
  virtual Result<std::vector<ForeignAddress>> sheltered() = 0;  // as the kernel has them

  // Whether packets to this host go by a router. Redirected packets from such a home carry our address, `own`, as their destination.
  virtual Result<bool> is_routed(const IpAddress& host) = 0;
  // Gives the packets of such connections their destination back. EADDRINUSE: the same port of the same peer has a connection here that
  // only its home's address tells apart.
  virtual Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) = 0;
  virtual Result<> remove_readdress(std::span<const FourTuple> tuples, const IpAddress& own, std::chrono::milliseconds linger) = 0;
  // The same for all connections of a listener's port. EADDRINUSE: another home's listener has this port here.
  virtual Result<> readdress_port(const SocketAddress& home, const IpAddress& own) = 0;
  virtual Result<> remove_readdress_port(const SocketAddress& home, const IpAddress& own) = 0;
  virtual Result<std::vector<Readdressed>> readdressed() = 0;  // as the kernel has them, but for those that are left to their last packets

  // Whether what is in the kernel stays there when this object goes. It does until something else is said: a daemon that fails to start cuts
  // off nobody.
  virtual void keep(bool yes) = 0;
};

// The real one: tables "netdev sockmi" and "inet sockmi", a routing rule and a routing table, all of our own; set up here, gone with the
// object or not (see keep()). `interfaces` are those the peers' packets come in by. What an earlier daemon left is taken over: its redirects and
// shelters stay in force, also where its rules were other than ours and are replaced. `daemon`: the network namespace that the daemon lives in, if it
// is another than this; the tables say so.
Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces, ino_t daemon = 0);

// Removes everything of ours that a dead daemon left in this network namespace. EADDRINUSE: one is alive.
Result<> flush();

// Blocks until packets that had already passed our hooks are through (membarrier): after it no straggler can reach a socket, or the lack
// of one. Microseconds where the kernel lets us expedite it, else 7-15 ms; to be called off the event loop, and off the freeze.
Result<> barrier();
// "expedited" or "plain". The first call also puts right what a barrier left whose process was killed.
const char* barrier_form();

}  // namespace sockmi::steer
