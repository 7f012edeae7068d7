// What a frozen socket still received after its image was taken.
#pragma once

#include "base/secret.h"

namespace sockmi::tcp {

struct Late {
  Bytes bytes;  // behind the image's receive queue
  bool fin = false;  // and behind them, the peer's FIN
  // The last word in a direction in which nothing else may come, so that it would be missed: all that was sent is acknowledged, so many bytes of it
  // since the image; the peer's window is wider, while bytes wait for it. Else 0.
  std::uint32_t acked = 0, window = 0;
  bool all_acknowledged = false;  // the peer has been told that all of the image's receive queue is received
  bool empty() const { return bytes.empty() && !fin && acked == 0 && window == 0; }
};

}  // namespace sockmi::tcp
