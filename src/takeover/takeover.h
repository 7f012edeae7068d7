// How an address moves to another host, with all connections at it. Afterwards the old
// host is not needed any more.
//
//   old holder (give_address.h)               new holder (receive_address.h)
//   Ask                   ->  checks that it is allowed, and has an interface for it
//   its connections move, one by one, each with its redirect: nothing can be lost so far
//   new connections are blocked; the last ones move
//   Hold                  ->  adds the address too, for some seconds, timed by its kernel
//   removes the address: the decision
//   Keep, repeated        ->  has it for good; its connections are at home; announces it
//   drops their records; redirects stay a while, for hosts that missed the announcement
//
// Between Hold and the decision both hosts may answer ARP. This is harmless: what reaches
// the old host is redirected.
//
// The outcome is in doubt if one of the two does not answer after Hold. Then neither host
// guesses: it probes the link (address_probe.h) for another host that still has the
// address. A host that gets no answer keeps the address. The old host relies on an answer
// only after the Hold has expired: before, it may come from the kernel of a host whose
// daemon is dead. A host that cannot probe does without the address.
//
// Alternatives considered:
// - Add the address to the new host only after it is removed from the old one. Then no
//   host has it in between, or for good, if a daemon dies.
// - Remove the address first (as in the SockMi paper). Then every connection is
//   interrupted for the whole time.
#pragma once

#include <chrono>

namespace sockmi::daemon {

// Timed by the kernel. Longer than everything that follows, so that it decides only if
// the daemon is dead.
inline constexpr std::chrono::seconds kHoldLifetime{20};
// Doubt begins this long after Hold or the first Keep.
inline constexpr std::chrono::milliseconds kInDoubtAfter{5000};

}  // namespace sockmi::daemon
