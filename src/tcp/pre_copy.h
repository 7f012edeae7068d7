// What waits in the receive queue of a socket that is not frozen yet: it can be sent before the freeze, which then need not wait for it.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tcp {

// A piece of the stream that a socket receives. Positions are bytes received in order since this socket began (as tcpi_bytes_received).
struct PreCopyRange {
  std::uint64_t from = 0, to = 0;
  std::uint32_t size() const { return static_cast<std::uint32_t>(to - from); }
  // Leaves what of it is in front of a queue that begins and ends there, and tells how much that is.
  std::uint32_t keep(std::uint64_t begin, std::uint64_t end);
};

// What is unread behind `known` (empty: what is unread) if that is `least` bytes or more, else nothing. `known` grows by it.
// EAGAIN: somebody reads, and has read beyond `known` or just now. ENOTSUP: urgent data waits, or peeks have an offset (SO_PEEK_OFF).
Result<Bytes> read_ahead(int fd, PreCopyRange& known, std::size_t least);

}  // namespace sockmi::tcp
