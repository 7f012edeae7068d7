// Asks the neighbours of a link whether another host has an address (ARP, ND), and tells
// them that this host has it.
#pragma once

#include <chrono>

#include <boost/asio/awaitable.hpp>

#include "net/addresses.h"

namespace sockmi::daemon {

struct ProbeEffort {
  int requests;
  std::chrono::milliseconds pause;  // for an answer, after each request
};

inline constexpr ProbeEffort kThoroughProbe{3, std::chrono::milliseconds(700)};
// While clients wait: the kernel of a host that has the address answers immediately.
inline constexpr std::chrono::milliseconds kQuickProbePause{100};
inline constexpr ProbeEffort kQuickProbe{3, kQuickProbePause};
inline constexpr ProbeEffort kSingleProbe{1, kQuickProbePause};

// Returns true if another host has the address.
boost::asio::awaitable<Result<bool>> is_elsewhere(net::HostAddress address,
                                                  ProbeEffort effort = kThoroughProbe);

// Announces the address to the neighbours on its link, several times in a few seconds.
boost::asio::awaitable<void> announce(net::HostAddress address);

}  // namespace sockmi::daemon
