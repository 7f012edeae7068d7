// Follows what becomes of this host's addresses: where others reach it, and those of connections that live elsewhere.
#pragma once

#include <set>

#include "broker/takeover.h"
#include "broker/world.h"
#include "steer/own_address.h"

namespace sockmi::broker {

class OwnAddresses {
 public:
  OwnAddresses(World& world, Takeovers& takeovers) : world_(world), takeovers_(takeovers) {}
  asio::awaitable<void> follow(steer::AddressNews news);
  std::vector<std::string> warnings() const;

 private:
  Result<> look();
  void find_other(bool& changed);
  std::map<IpAddress, std::size_t> wanted() const;

  World& world_;
  Takeovers& takeovers_;
  std::set<IpAddress> gone_;
};

}  // namespace sockmi::broker
