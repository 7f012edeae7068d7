// Between the moment at which a host has its addresses and the moment at which its daemon has put the redirects back, its kernel would answer the peers of
// connections that live elsewhere by RST. So their packets are dropped until then; the peers send them again. A table of its own, "inet sockmi_hold":
// it needs no interface to be there.
#pragma once

#include <chrono>
#include <span>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

// The kernel itself ends it after `longest`, should no daemon come.
Result<> hold_connections(std::span<const FourTuple> tuples, std::chrono::seconds longest);
Result<> release_connections();  // no error if none are held

}  // namespace sockmi::steer
