// What waits in a socket's queues: counted, looked at, and put there by repair mode.
#pragma once

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tcp {

// SIOCINQ (the peer's FIN does not count), SIOCOUTQ and SIOCOUTQNSD (our FIN does).
Result<std::uint32_t> queued(int fd, unsigned long request, const char* what);

// Of the selected queue (the receive queue, without repair mode): the first `size` bytes; EAGAIN if somebody reads meanwhile.
Result<Bytes> peek_received(int fd, std::uint32_t size);
// The same of a frozen socket (SO_PEEK_OFF is -1 before and after), without the first `skipped` of them.
Result<Bytes> peek_received_behind(int fd, std::uint32_t skipped, std::uint32_t size);
// The last `size` bytes of the selected send queue, or what is left of them.
Result<Bytes> peek_unacknowledged(int fd, std::uint32_t size);

// TCP_RECV_QUEUE, TCP_SEND_QUEUE: puts the bytes behind what is there, as received, or as sent.
Result<> fill(int fd, int queue, ByteView bytes);

// What somebody else has read already; of a socket that is not in repair mode.
Result<> skip_received(int fd, std::uint32_t size);

// A byte of urgent data is skipped by a peek, and would be lost.
Result<bool> has_urgent(int fd);

}  // namespace sockmi::tcp
