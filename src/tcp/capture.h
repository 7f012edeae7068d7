// Takes a TCP connection's whole state out of its socket.
#pragma once

#include <optional>

#include "base/error.h"
#include "image/tcp_generated.h"
#include "tcp/ahead.h"
#include "tcp/inject.h"
#include "tcp/inspect.h"
#include "tcp/late.h"
#include "tcp/marks.h"
#include "tcp/socket_options.h"

namespace sockmi::tcp {

// What a freeze changes of a socket, as its owner had it.
struct Owner {
  std::uint32_t mark = 0;
  int reuse_address = 0;  // repair mode changes SO_REUSEADDR
  int peek_offset = -1;   // SO_PEEK_OFF, which would hide what is in front of it
  static Result<Owner> of(int fd);
};

// A socket whose endpoint is being moved: mute from construction on, captured as often as one likes, and in the end either killed silently or
// given back. Borrows the descriptor. Destroying one that is still frozen gives the socket back (rollback).
class Frozen {
 public:
  // From here on nothing is acknowledged that a later capture() does not have. Errors, the socket untouched: those of inspect(); ENOTCONN: bound or
  // listening (passive.h); EBUSY: frozen already; ENOTSUP, with the reason: SYN_RECV, urgent data waits, data in the SYN, link-local addresses, kernel TLS.
  // `owner` and `settings`: Owner::of() and read_settings() of the socket. The latter take as long as everything else, so who is in a hurry has them
  // already; what is missing is read here.
  static Result<Frozen> freeze(int fd, Marks marks);
  static Result<Frozen> freeze(int fd, const Owner& owner, Marks marks, Settings settings = {});
  // One that a process has frozen that is dead now: to be killed, or given back. ENOENT: it is not frozen.
  static Result<Frozen> resume(int fd, const Owner& owner, Marks marks);
  Frozen(Frozen&&) noexcept;
  Frozen& operator=(Frozen&&) = delete;
  ~Frozen();

  // `ahead`: what of the receive queue is known elsewhere already. Shortened to what of it is unread still; the image's queue begins behind that.
  Result<image::TcpT> capture(Ahead* ahead = nullptr);
  // Whether the socket still has received what `image` says, and no more: a straggler may have come in since.
  Result<bool> still_stands(const image::TcpT& image);
  // What came in since. ECONNRESET: the connection has ended. ENOTSUP: urgent data. EAGAIN: the peer has answered our SYN: capture again.
  Result<Late> received_since(const image::TcpT& image);
  // Ends the socket without a packet on the wire; every duplicate of the descriptor is dead too. The point of no return is behind us.
  Result<> kill();
  // Gives the socket back to its owner as it was: repair mode off (window probe), the owner's mark. What it received meanwhile is acknowledged, if we
  // are in its network namespace.
  Result<> give_back();

 private:
  Frozen(int fd, const Owner& owner, Marks marks) : fd_(fd), marks_(marks), owner_(owner) {}
  Result<> capture_queues(image::TcpT& image, Ahead* ahead);
  Result<Late> peek_late(const image::TcpT& image);
  Result<> heard_last(const image::TcpT& image, Late& late);
  Result<std::optional<Segment>> old_segment() const;
  Result<std::optional<Segment>> last_acknowledgement() const;

  int fd_ = -1;  // -1: killed, given back, or moved from
  Marks marks_;
  Facts facts_;
  Settings settings_;
  Owner owner_;
  std::uint32_t never_sent_ = 0;  // bytes of the send queue that had not left when the socket fell mute
  bool all_acknowledged_ = false;
};

}  // namespace sockmi::tcp
