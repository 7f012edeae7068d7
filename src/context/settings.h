// What the daemon is configured with.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/address.h"
#include "context/match.h"

namespace sockmi::daemon {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

struct Settings {
  std::string host;         // our name in the cluster
  IpAddress address;        // where redirected packets and other daemons reach us
  IpAddress other_address;  // for redirected packets of the other family; any(): none
  std::uint16_t control_port = 7078;
  std::vector<std::string> interfaces;  // on which the peers' packets arrive
  milliseconds freeze_timeout{5000};    // an undecided freeze ends after this
  milliseconds linger{60000};           // how long rules outlive their connection (TIME_WAIT)
  milliseconds wait{30000};             // for an application to import; then the endpoint goes home
  bool require_importer = true;         // refuse offers for which no application waits
  std::vector<Match> takeover;          // addresses that this host may take over
  bool believe_holders = false;   // accept claims to connections without a record, see claims.h
  std::filesystem::path runtime;  // in memory (tmpfs): survives the daemon, but not the host
  bool testing = false;           // fault points may be armed

  const IpAddress& address_for(const IpAddress& local) const {
    return address.family == local.unmapped().family ? address : other_address;
  }
  SocketAddress control_address() const { return {address, control_port}; }
};

}  // namespace sockmi::daemon
