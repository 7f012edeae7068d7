// Reads the receive queue of a socket that is not frozen yet, so that it can be sent
// before the freeze, which then need not wait for it.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tcp {

// A part of the stream that a socket receives. Positions are bytes received in order
// since this socket began (as tcpi_bytes_received).
struct PreCopyRange {
  std::uint64_t from = 0, to = 0;
  std::uint32_t size() const { return static_cast<std::uint32_t>(to - from); }
  // Reduces the range to its part in front of a queue that begins and ends at these
  // positions. Returns its size.
  std::uint32_t keep(std::uint64_t begin, std::uint64_t end);
};

// Returns what is unread behind `known` (if `known` is empty: all that is unread) if it
// is at least `least` bytes, otherwise nothing. Extends `known` by it. Errors: EAGAIN if
// another thread has read beyond `known`, or reads at this moment; ENOTSUP if urgent data
// waits, or if peeks have an offset (SO_PEEK_OFF).
Result<Bytes> read_for_pre_copy(int fd, PreCopyRange& known, std::size_t least);

}  // namespace sockmi::tcp
