// Reads the send queue of a frozen socket while its owner's threads may write.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tcp {

struct SendQueue {
  std::uint32_t end = 0;      // sequence number behind its last byte, without our FIN
  std::uint64_t written = 0;  // the same position, as Place counts
  Bytes bytes;                // the unacknowledged bytes
};

// Reads the send queue of a socket in repair mode. Afterwards no queue is selected, so
// send(2) fails (EINVAL) until repair mode ends. Errors: EAGAIN if writers do not pause.
Result<SendQueue> read_send_queue(int fd);

}  // namespace sockmi::tcp
