// Where both streams of a socket stand. It needs no repair mode, in which calls of the socket's owner fail.
#pragma once

#include <cstdint>

#include "base/error.h"

namespace sockmi::tcp {

// Bytes since this socket began, FINs left out. (Sequence numbers can be had in repair mode only; the distance to these never changes.)
struct Place {
  int state = 0;
  std::uint64_t read = 0, received = 0;         // by the owner; from the peer, in order: what is between them waits unread
  std::uint64_t acknowledged = 0, written = 0;  // by the peer (our FIN may count); by the owner
  // All of one moment, but for what the owner's threads do meanwhile. EAGAIN: segments come in without a pause.
  static Result<Place> of(int fd);
};

// Of a socket that was connected. One that is closed without an error has both FINs.
bool has_received_fin(int state);
bool has_sent_fin(int state);

}  // namespace sockmi::tcp
