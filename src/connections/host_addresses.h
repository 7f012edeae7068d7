// Watches the addresses of this host: the ones under which other hosts reach it, and
// those of connections that live elsewhere.
#pragma once

#include <set>

#include "context/world.h"
#include "net/own_address.h"
#include "takeover/taken_addresses.h"

namespace sockmi::daemon {

class HostAddresses {
 public:
  HostAddresses(World& world, TakenAddresses& taken) : world_(world), taken_(taken) {}
  asio::awaitable<void> follow(net::AddressNews news);
  std::vector<std::string> warnings() const;

 private:
  Result<> look();
  void find_other(bool& changed);
  std::map<IpAddress, std::size_t> wanted() const;

  World& world_;
  TakenAddresses& taken_;
  std::set<IpAddress> gone_;
};

}  // namespace sockmi::daemon
