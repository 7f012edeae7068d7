// The send queue of a mute socket, read while its owner's threads may write.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::tcp {

struct SendQueue {
  std::uint32_t end = 0;      // sequence number behind its last byte; our FIN is left out
  std::uint64_t written = 0;  // the same place, as Place has it
  Bytes bytes;                // what is unacknowledged
};

// Of a socket in repair mode; afterwards no queue is selected, so send(2) fails (EINVAL) until repair mode ends. EAGAIN: writers do not let it rest.
Result<SendQueue> read_send_queue(int fd);

}  // namespace sockmi::tcp
