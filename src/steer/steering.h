// Makes the peer's packets reach an endpoint wherever it lives. Knows packets, nothing of images.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

inline constexpr std::uint32_t kFreezeMark = 0x736b0001;   // SO_MARK of a frozen socket: all it sends or is sent is dropped
inline constexpr std::uint32_t kDeliverMark = 0x736b0002;  // packet mark: to a socket here, though the address is another host's

struct Redirect {
  FourTuple tuple;
  IpAddress to;
  std::optional<std::chrono::milliseconds> expires_in;  // none: until removed
};

class Steering {
 public:
  virtual ~Steering() = default;
  // From here no new packet of this connection reaches our stack: home's rule sends it on to `to`. Replaces an older redirect of the
  // same connection in one step. With `timeout` the kernel itself drops the rule after that time: for the undecided, and for lingering.
  virtual Result<> redirect(const FourTuple& tuple, const IpAddress& to, std::optional<std::chrono::milliseconds> timeout) = 0;
  virtual Result<> remove_redirect(const FourTuple& tuple) = 0;  // no error if there is none
  virtual Result<std::vector<Redirect>> redirects() = 0;         // as the kernel has them
  // Packets to this foreign address that belong to no socket of ours are dropped (never answered by RST, never forwarded back).
  // Counted: each shelter() wants one unshelter(); the last one leaves the rule for `linger`.
  virtual Result<> shelter(const IpAddress& home) = 0;
  virtual Result<> unshelter(const IpAddress& home, std::chrono::milliseconds linger) = 0;
  virtual Result<std::vector<IpAddress>> shelters() = 0;         // as the kernel has them
  // Whether what is in the kernel stays there when this object goes. It does until something else is said: a daemon that fails to start cuts off nobody.
  virtual void keep(bool yes) = 0;
};

// The real one: tables "netdev sockmi" and "inet sockmi", a routing rule and a routing table, all of our own; set up here, gone with the
// object or not (see keep()). `interfaces` are those the peers' packets come in by. What an earlier daemon left is taken over: its redirects and shelters stay in
// force, also where its rules were other than ours and are replaced.
Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces);

// Removes everything of ours that a dead daemon left. EADDRINUSE: one is alive.
Result<> flush();

// A TCP socket of this host as sock_diag shows it.
struct TcpSocket {
  std::uint64_t cookie = 0;
  FourTuple tuple;         // unmapped; without ports if it was killed silently: then only its cookie tells which it was
  std::uint8_t state = 0;  // TCP_ESTABLISHED, ...
};

// Notices the end of sockets by the kernel's own word (sock_diag's destroy groups). fd() polls readable when ended() has something.
class SocketEnds {
 public:
  static Result<std::unique_ptr<SocketEnds>> open();
  virtual ~SocketEnds() = default;
  virtual int fd() const = 0;
  // The TCP sockets that ended since the last call. ENOBUFS: some were missed; ask alive() about each one you watch.
  virtual Result<std::vector<TcpSocket>> ended() = 0;
  // All TCP sockets alive now, by cookie: for resynchronising.
  virtual Result<std::map<std::uint64_t, TcpSocket>> alive() = 0;
};

// The socket of this very connection. ENOENT: none lives here.
Result<TcpSocket> find_socket(const FourTuple& tuple);

// Blocks until packets that had already passed our hooks are through (membarrier): after it no straggler can reach a socket, or the lack
// of one. Microseconds where the kernel lets us expedite it, else 7-15 ms; to be called off the event loop, and off the freeze.
Result<> barrier();
// "expedited" or "plain". The first call also puts right what a barrier left whose process was killed.
const char* barrier_form();

}  // namespace sockmi::steer
