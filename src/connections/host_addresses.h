// Watches the addresses of this host: the ones under which other hosts reach it, and
// those of connections that live elsewhere.
#pragma once

#include <set>

#include "context/world.h"
#include "net/own_address.h"
#include "takeover/takeover.h"

namespace sockmi::daemon {

class HostAddresses {
 public:
  HostAddresses(World& world, Takeovers& takeovers) : world_(world), takeovers_(takeovers) {}
  asio::awaitable<void> follow(net::AddressNews news);
  std::vector<std::string> warnings() const;

 private:
  Result<> look();
  void find_other(bool& changed);
  std::map<IpAddress, std::size_t> wanted() const;

  World& world_;
  Takeovers& takeovers_;
  std::set<IpAddress> gone_;
};

}  // namespace sockmi::daemon
