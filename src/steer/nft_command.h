// Runs nft(8) commands through libnftables. Used for whole tables; elements of sets are
// changed by netlink (nft_sets.h).
#pragma once

#include <string>

#include "base/error.h"

namespace sockmi::steer {

// Runs nft commands as one transaction. Errors: EPERM; otherwise EIO with nft's message.
Result<> run_nft(const std::string& commands);

}  // namespace sockmi::steer
