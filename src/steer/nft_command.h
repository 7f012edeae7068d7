// nft(8)'s language, by its own library: for tables as a whole. Elements of sets go by netlink (sets.h).
#pragma once

#include <string>

#include "base/error.h"

namespace sockmi::steer {

// All of it, or nothing. EPERM; EIO with what nft says else.
Result<> run_nft(const std::string& commands);

}  // namespace sockmi::steer
