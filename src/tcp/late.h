// What a frozen socket still received after its image was taken.
#pragma once

#include "base/secret.h"

namespace sockmi::tcp {

struct Late {
  Bytes bytes;  // behind the image's receive queue
  bool fin = false;  // and behind them, the peer's FIN
  bool empty() const { return bytes.empty() && !fin; }
};

}  // namespace sockmi::tcp
