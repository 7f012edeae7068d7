// Captures the whole state of a TCP connection from its socket.
#pragma once

#include <optional>

#include "base/error.h"
#include "tcp/freeze_delta.h"
#include "tcp/marks.h"
#include "tcp/pre_copy.h"
#include "tcp/sequences.h"
#include "tcp/socket_info.h"
#include "tcp/socket_options.h"
#include "tcp/stream_positions.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

// The options that a freeze changes, with the application's values.
struct OriginalOptions {
  std::uint32_t mark = 0;
  int reuse_address = 0;  // repair mode changes SO_REUSEADDR
  int peek_offset = -1;   // SO_PEEK_OFF; it would hide the bytes in front of it
  static Result<OriginalOptions> of(int fd);
};

// A socket whose endpoint is being moved. Its output is blocked from construction on. It
// may be captured any number of times, and in the end it is either destroyed silently or
// unfrozen. Borrows the descriptor. The destructor unfreezes a socket that is still
// frozen (rollback).
//
// Other threads of the owner, and processes with a duplicate of the descriptor, may use
// the socket all the time. Repair mode makes their calls fail (send: EINVAL, recv:
// EPERM). It is on from hold() on. Before hold() it is avoided (outside_repair.h), except
// for two instants if the sequence numbers are not known. Where it cannot be avoided, it
// is on for some microseconds at the freeze, at each look, and at the end.
class FrozenSocket {
 public:
  // Freezes the socket. From here on nothing is acknowledged that a later capture() does
  // not have. On an error the socket is untouched. Errors: those of socket_info();
  // ENOTCONN if it is bound or listening (listener.h); EBUSY if it is frozen already;
  // ENOTSUP, with the reason, for SYN_RECV, waiting urgent data, data in the SYN,
  // link-local addresses, kernel TLS.
  //
  // `owner` and `settings`: the results of OriginalOptions::of() and read_settings() for
  // the socket. read_settings() takes as long as everything else, so a caller to which
  // time matters passes its result; if `settings` is empty, it is called here. `history`:
  // what an earlier freeze of the socket has found.
  static Result<FrozenSocket> freeze(int fd, Marks marks);
  static Result<FrozenSocket> freeze(int fd, const OriginalOptions& owner, Marks marks,
                                     Settings settings = {}, const History& history = {});
  // Takes over a socket that was frozen by a process that has died: to destroy it, or to
  // unfreeze it. Errors: ENOENT if it is not frozen.
  static Result<FrozenSocket> resume(int fd, const OriginalOptions& owner, Marks marks);
  FrozenSocket(FrozenSocket&&) noexcept;
  FrozenSocket& operator=(FrozenSocket&&) = delete;
  ~FrozenSocket();

  // To be passed to the next freeze of the socket, if this one is undone.
  const History& history() const { return history_; }

  // Captures the endpoint. `pre_copied`: the part of the receive queue that the importer
  // already has. It is shortened to its part that is still unread, and the image's
  // receive queue begins behind it. The send queue may be left to hold() (the image's
  // `to_come`).
  Result<wire::TcpT> capture(PreCopyRange* pre_copied = nullptr);
  // Returns what has happened since; a straggler may have arrived. Errors: ECONNRESET if
  // the connection has ended; ENOTSUP if urgent data has arrived; EAGAIN if the peer has
  // answered our SYN (capture again).
  Result<FreezeDelta> received_since(const wire::TcpT& image);
  // Does the same, and makes calls of other threads fail from then on, until the socket
  // is unfrozen or destroyed. A thread that already sleeps in send(2) or recv(2) may
  // still wake up and succeed.
  Result<FreezeDelta> hold(const wire::TcpT& image);
  // Ends all writing (EPIPE). Call it when the endpoint lives elsewhere. Returns what was
  // written and read since hold(), or since the last look; nothing more can follow.
  Result<FreezeDelta> seal(const wire::TcpT& image);
  // Destroys the socket without a packet on the wire; every duplicate of the descriptor
  // is dead as well. To be called only after the point of no return.
  Result<> destroy_silently();
  // Leaves the socket as it is: output-blocked, for a later process.
  void leave() { fd_ = -1; }
  // Destroys the socket and resets the connection at the peer, because its endpoint lives
  // nowhere any more.
  Result<> reset();
  // Unfreezes the socket: ends repair mode (with a window probe) and restores the owner's
  // mark. What the socket received in the meantime is acknowledged, provided that this
  // thread is in the socket's network namespace.
  Result<> unfreeze();

 private:
  FrozenSocket(int fd, const OriginalOptions& owner, Marks marks)
      : fd_(fd),
        marks_(marks),
        owner_(owner) {}
  bool stay_outside();
  Result<> remember();
  void captured(const Place& place, std::uint64_t written);
  Result<bool> capture_outside_repair(wire::TcpT& image, PreCopyRange* pre_copied);
  Result<> capture_queues(wire::TcpT& image, PreCopyRange* pre_copied);
  Result<> learn_sequence(const wire::TcpT& image, wire::Window& window);
  Result<Bytes> peek(std::uint32_t skipped, std::uint32_t size);
  Result<FreezeDelta> peek_delta(const wire::TcpT& image, Place& now);
  Result<> heard_last(const wire::TcpT& image, FreezeDelta& delta);
  Result<> done_by_owner(const wire::TcpT& image, Place now, std::uint64_t received,
                         FreezeDelta& delta);

  int fd_ = -1;  // -1: destroyed, unfrozen, or moved from
  Marks marks_;
  SocketInfo facts_;
  Settings settings_;
  OriginalOptions owner_;
  History history_;
  // What is known about the socket. Positions are those of Place.
  struct Known {
    std::uint64_t sent = 0;  // what had left the socket when it was frozen; our FIN counts
    // The peer had received an acknowledgement of everything before this sequence number,
    // and the window `announced`.
    std::optional<std::uint32_t> announced_up_to;
    std::optional<wire::Window> announced;
    std::uint32_t base = 0;  // sequence number minus position, for received bytes
    Place captured;          // at the last image
    Place seen;              // at the last look
    bool finished = false;   // our FIN, at the last look
    bool outside = false;    // repair mode is avoided
    bool all_acknowledged = false, sealed = false;
  } known_;
};

}  // namespace sockmi::tcp
