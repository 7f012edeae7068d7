// What happened to a frozen socket after its image was taken: through the peer, and
// through other threads and children of its owner.
#pragma once

#include "base/secret.h"

namespace sockmi::tcp {

struct FreezeDelta {
  Bytes bytes;       // received behind the image's receive queue
  bool fin = false;  // and the peer's FIN behind them
  // Set only if the peer may never repeat it. `acked`: everything sent has been
  // acknowledged, this many bytes of it since the image. `window`: the peer opened its
  // window while data waited to be sent. Otherwise 0.
  std::uint32_t acked = 0, window = 0;
  // The peer has an acknowledgement of the image's whole receive queue.
  bool all_acknowledged = false;
  // By the owner. `written`: bytes written behind the image's send queue. `finished`: our
  // FIN is behind them. `read`: the number of bytes of the image's receive queue and of
  // `bytes` that were read. The first `sent` bytes of `written` had left before the
  // socket was frozen (at most as many as the image's `to_come`).
  Bytes written;
  std::uint32_t sent = 0;
  bool finished = false;
  std::uint32_t read = 0;
  // Other threads may sleep in a call, and wake up until seal(). What they do then
  // follows in a second message (late writes).
  bool more = false;
  bool empty() const {
    return bytes.empty() && !fin && acked == 0 && window == 0 && written.empty() && !finished &&
           read == 0;
  }
};

}  // namespace sockmi::tcp
