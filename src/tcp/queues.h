// Counts and reads the data in a socket's queues, and fills them in repair mode.
#pragma once

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tcp {

// SIOCINQ (the peer's FIN does not count), SIOCOUTQ and SIOCOUTQNSD (our FIN counts).
Result<std::uint32_t> queued(int fd, unsigned long request, const char* what);

// Returns the first `size` bytes of the selected queue (without repair mode: the receive
// queue). Errors: EAGAIN if another thread reads in the meantime.
Result<Bytes> peek_received(int fd, std::uint32_t size);
// Returns the same without the first `skipped` bytes, for a frozen socket (SO_PEEK_OFF is
// -1 before and after).
Result<Bytes> peek_received_behind(int fd, std::uint32_t skipped, std::uint32_t size);
// Returns the last `size` bytes of the selected send queue, or what is left of them.
Result<Bytes> peek_unacknowledged(int fd, std::uint32_t size);

// Appends bytes to `queue`, as received (TCP_RECV_QUEUE) or as sent (TCP_SEND_QUEUE).
Result<> fill(int fd, int queue, ByteView bytes);

// Drops what another thread has already read. The socket must not be in repair mode.
Result<> skip_received(int fd, std::uint32_t size);

// A peek skips an urgent byte, which would be lost.
Result<bool> has_urgent(int fd);

}  // namespace sockmi::tcp
