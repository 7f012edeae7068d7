// The positions of both streams of a socket. Reading them needs no repair mode, which
// would make calls of the socket's owner fail.
#pragma once

#include <cstdint>

#include "base/error.h"

namespace sockmi::tcp {

// Bytes since this socket began, without FINs. (Sequence numbers can be read only in
// repair mode; their distance to these counters never changes.)
struct Place {
  int state = 0;
  // By the owner / from the peer, in order. What is between them is unread.
  std::uint64_t read = 0, received = 0;
  std::uint64_t acknowledged = 0, written = 0;  // By the peer (our FIN may count) / by the owner.
  // Returns positions of one moment, except for what the owner's threads do in the
  // meantime. Errors: EAGAIN if segments arrive without a pause.
  static Result<Place> of(int fd);
  // The same. `earlier`: the last reading, with which this one takes three questions to
  // the kernel and not four, if no segment has arrived since.
  static Result<Place> of(int fd, const Place& earlier);
};

// For a socket that was connected. If it is closed without an error, both FINs were
// exchanged.
bool has_received_fin(int state);
bool has_sent_fin(int state);

}  // namespace sockmi::tcp
