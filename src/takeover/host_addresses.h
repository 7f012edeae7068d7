// Watches the addresses of this host: the ones under which other hosts reach it, and
// those of connections that live elsewhere.
#pragma once

#include <set>

#include "connections/connections.h"
#include "net/own_address.h"
#include "takeover/taken_addresses.h"

namespace sockmi::daemon {

class HostAddresses {
 public:
  // `settings`: those of the services, which only this class changes, and only
  // other_address.
  HostAddresses(Connections& connections, Settings& settings, TakenAddresses& taken)
      : connections_(connections),
        settings_(settings),
        taken_(taken) {}
  asio::awaitable<void> follow(net::AddressMonitor news);
  std::vector<std::string> warnings() const;

 private:
  Result<> look();
  void find_other(bool& changed);
  std::map<IpAddress, std::size_t> wanted() const;

  Connections& connections_;
  Settings& settings_;
  TakenAddresses& taken_;
  std::set<IpAddress> gone_;
};

}  // namespace sockmi::daemon
