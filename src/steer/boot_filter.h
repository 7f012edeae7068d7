// Drops the packets of connections that live elsewhere, from the moment this host has its
// addresses until its daemon has restored the redirects. Without this filter the kernel
// would answer the peers of these connections with RST. The peers retransmit the dropped
// packets.
//
// The filter is in a table of its own, "inet sockmi_hold". A table of family inet needs
// no interface to exist yet.
#pragma once

#include <chrono>
#include <span>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

// Replaces the filter by one for `tuples`; an empty span removes it. If no daemon starts,
// the kernel itself ends the filter after `longest`.
Result<> hold_connections(std::span<const FourTuple> tuples, std::chrono::seconds longest);
Result<> release_connections();  // No error if none are held

}  // namespace sockmi::steer
