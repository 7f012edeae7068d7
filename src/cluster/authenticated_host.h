// Who speaks on a private line: what its certificate says, and the address that it speaks from.
#pragma once

#include <string>

#include "base/address.h"

namespace sockmi::cluster {

struct AuthenticatedHost {
  std::string host;
  IpAddress address;  // of the connection: packets to it reach the speaker
};

}  // namespace sockmi::cluster
