// Takes a TCP socket's whole state out of it.
#pragma once

#include "base/error.h"
#include "image/tcp_generated.h"

namespace sockmi::tcp {

// A socket whose endpoint is being moved: mute and deaf from construction on, captured as often as one likes, and in the end either
// killed silently or given back. Borrows the descriptor. Destroying one that is still frozen gives the socket back (rollback).
class Frozen {
 public:
  // `mark` is the freeze mark: steer's rules drop whatever a socket with this SO_MARK sends or is sent, so that from here on nothing is
  // acknowledged that a later capture() does not have.
  static Result<Frozen> freeze(int fd, std::uint32_t mark);
  Frozen(Frozen&&) noexcept;
  Frozen& operator=(Frozen&&) = delete;
  ~Frozen();

  Result<image::TcpT> capture();
  // Whether `image` still is what the socket holds (queues and sequence numbers; a straggler may have moved them since).
  Result<bool> still_stands(const image::TcpT& image);
  // Ends the socket without a packet on the wire; every duplicate of the descriptor is dead too. The point of no return is behind us.
  Result<> kill();
  // Gives the socket back to its owner as it was: repair mode off (window probe), the owner's mark.
  Result<> give_back();

 private:
  explicit Frozen(int fd) : fd_(fd) {}
  int fd_ = -1;  // -1: killed, given back, or moved from
  std::uint32_t owner_mark_ = 0;
  bool owner_reuse_address_ = false;  // repair mode changes SO_REUSEADDR
};

}  // namespace sockmi::tcp
