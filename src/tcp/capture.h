// Takes a TCP connection's whole state out of its socket.
#pragma once

#include <optional>

#include "base/error.h"
#include "wire/tcp_generated.h"
#include "tcp/pre_copy.h"
#include "tcp/socket_info.h"
#include "tcp/freeze_delta.h"
#include "tcp/marks.h"
#include "tcp/stream_positions.h"
#include "tcp/sequences.h"
#include "tcp/socket_options.h"

namespace sockmi::tcp {

// What a freeze changes of a socket, as its owner had it.
struct OriginalOptions {
  std::uint32_t mark = 0;
  int reuse_address = 0;  // repair mode changes SO_REUSEADDR
  int peek_offset = -1;   // SO_PEEK_OFF, which would hide what is in front of it
  static Result<OriginalOptions> of(int fd);
};

// A socket whose endpoint is being moved: mute from construction on, captured as often as one likes, and in the end either killed silently or
// given back. Borrows the descriptor. Destroying one that is still frozen gives the socket back (rollback).
//
// The owner's other threads, and processes with a duplicate of the descriptor, may use the socket all the time. Repair mode makes their calls fail
// (send: EINVAL, recv: EPERM). It is on from hold() on. Before, it is avoided (outside_repair.h), but for two instants if the sequence numbers are not
// known. Where it can not be avoided it is on for some microseconds at the freeze, at each look, and at the end.
class FrozenSocket {
 public:
  // From here on nothing is acknowledged that a later capture() does not have. Errors, the socket untouched: those of inspect(); ENOTCONN: bound or
  // listening (passive.h); EBUSY: frozen already; ENOTSUP, with the reason: SYN_RECV, urgent data waits, data in the SYN, link-local addresses, kernel TLS.
  // `owner` and `settings`: OriginalOptions::of() and read_settings() of the socket. The latter take as long as everything else, so who is in a hurry has them
  // already; what is missing is read here. `history`: with what an earlier freeze of the socket has found.
  static Result<FrozenSocket> freeze(int fd, Marks marks);
  static Result<FrozenSocket> freeze(int fd, const OriginalOptions& owner, Marks marks, Settings settings = {}, const History& history = {});
  // One that a process has frozen that is dead now: to be killed, or given back. ENOENT: it is not frozen.
  static Result<FrozenSocket> resume(int fd, const OriginalOptions& owner, Marks marks);
  FrozenSocket(FrozenSocket&&) noexcept;
  FrozenSocket& operator=(FrozenSocket&&) = delete;
  ~FrozenSocket();

  // For the next freeze, if this one does not last.
  const History& history() const { return history_; }

  // `ahead`: what of the receive queue is known elsewhere already. Shortened to what of it is unread still; the image's queue begins behind that.
  // The send queue may be left to hold().
  Result<wire::TcpT> capture(PreCopyRange* ahead = nullptr);
  // Whether nothing has happened to it since: a straggler may have come in.
  Result<bool> still_stands(const wire::TcpT& image);
  // What has happened since. ECONNRESET: the connection has ended. ENOTSUP: urgent data. EAGAIN: the peer has answered our SYN: capture again.
  Result<FreezeDelta> received_since(const wire::TcpT& image);
  // The same, and from then on calls of others fail, until the socket is given back or killed. Who sleeps in send(2) or recv(2) already may still wake.
  Result<FreezeDelta> hold(const wire::TcpT& image);
  // To be called when the endpoint lives elsewhere: nobody can write any more (EPIPE). What was written and read since hold(), or the last look: with that
  // all there is.
  Result<FreezeDelta> seal(const wire::TcpT& image);
  // Ends the socket without a packet on the wire; every duplicate of the descriptor is dead too. The point of no return is behind us.
  Result<> kill();
  // Leaves the socket as it is: mute, for who comes later.
  void leave() { fd_ = -1; }
  // Ends the socket, and its peer by an RST: its endpoint lives nowhere any more.
  Result<> reset();
  // Gives the socket back to its owner as it was: repair mode off (window probe), the owner's mark. What it received meanwhile is acknowledged, if we
  // are in its network namespace.
  Result<> give_back();

 private:
  FrozenSocket(int fd, const OriginalOptions& owner, Marks marks) : fd_(fd), marks_(marks), owner_(owner) {}
  bool stay_outside();
  Result<> remember();
  void captured(const Place& place, std::uint64_t written);
  Result<bool> capture_outside_repair(wire::TcpT& image, PreCopyRange* ahead);
  Result<> capture_queues(wire::TcpT& image, PreCopyRange* ahead);
  Result<> learn_sequence(const wire::TcpT& image, wire::Window& window);
  Result<Bytes> peek(std::uint32_t skipped, std::uint32_t size);
  Result<FreezeDelta> peek_late(const wire::TcpT& image, Place& now);
  Result<> heard_last(const wire::TcpT& image, const Place& now, FreezeDelta& late);
  Result<> done_by_owner(const wire::TcpT& image, std::uint64_t received, FreezeDelta& late);

  int fd_ = -1;  // -1: killed, given back, or moved from
  Marks marks_;
  SocketInfo facts_;
  Settings settings_;
  OriginalOptions owner_;
  History history_;
  // What is known of it; places as in Place.
  struct Known {
    std::uint64_t sent = 0;      // what had left when the socket fell mute; our FIN counts
    std::optional<std::uint32_t> told;        // the peer had been told that everything before this sequence number is received, and what it may send
    std::optional<wire::Window> announced;
    std::uint32_t base = 0;      // sequence number of what is received, less its place
    Place captured;              // of the last image
    Place seen;                  // at the last look
    bool finished = false;       // then
    bool outside = false;        // repair mode is avoided
    bool all_acknowledged = false, sealed = false;
  } known_;
};

}  // namespace sockmi::tcp
