// What happened to a frozen socket after its image was taken: by the peer, and by its owner's other threads and children.
#pragma once

#include "base/secret.h"

namespace sockmi::tcp {

struct FreezeDelta {
  Bytes bytes;  // behind the image's receive queue
  bool fin = false;  // and behind them, the peer's FIN
  // The last word in a direction in which nothing else may come, so that it would be missed: all that was sent is acknowledged, so many bytes of it
  // since the image; the peer's window is wider, while bytes wait for it. Else 0.
  std::uint32_t acked = 0, window = 0;
  bool all_acknowledged = false;  // the peer has been told that all of the image's receive queue is received
  // The owner's: what was written behind the image's send queue, and whether our FIN is behind that; how much was read of the image's receive queue
  // and `bytes`. Of `written`, the first `sent` bytes had left before the socket fell mute (not more than the image says that are to come).
  Bytes written;
  std::uint32_t sent = 0;
  bool finished = false;
  std::uint32_t read = 0;
  // Others may be asleep in a call, and wake until seal(): what they do then comes as a second word.
  bool more = false;
  bool empty() const { return bytes.empty() && !fin && acked == 0 && window == 0 && written.empty() && !finished && read == 0; }
};

}  // namespace sockmi::tcp
