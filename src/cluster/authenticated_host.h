// The host at the other end of a control connection: the name in its certificate, and the
// address that the connection comes from.
#pragma once

#include <string>

#include "base/address.h"

namespace sockmi::cluster {

struct AuthenticatedHost {
  std::string host;
  IpAddress address;  // the connection's remote address; packets to it reach the host
};

}  // namespace sockmi::cluster
