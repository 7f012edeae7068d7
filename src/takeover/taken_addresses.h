// The addresses that this host has taken over from others: remembers them across
// restarts, adds them again if something removes them, and warns if another host has one
// as well.
//
// After a link was split in two, each part may have a holder of an address.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "connections/connections.h"
#include "net/addresses.h"

namespace sockmi::daemon {

// True if the configuration allows this host to take over the address.
bool may_be_taken_over(const Settings& settings, const IpAddress& address);

class TakenAddresses {
 public:
  explicit TakenAddresses(Connections& connections) : connections_(connections) {}

  // Restores what an earlier daemon of this host has taken over, as far as the
  // configuration still allows it.
  void recover();

  // Records an address that this host has for good now.
  void add(const TakenOver& address);
  // True if it was taken over from this host, and is not held for a limited time only.
  bool is_kept_from(const IpAddress& address, const std::string& from) const;
  // The address is held for a limited time now: a new Keep must follow.
  void await_keep(const IpAddress& address) { kept_.erase(address); }

  // While an address is set aside, it is not added again if it is missing.
  std::optional<TakenOver> set_aside(const IpAddress& address);
  void restore(const TakenOver& address) { all_[address.ip] = address; }
  // Forgets an address that another host has now.
  void forget(const IpAddress& address);

  // `here`: the addresses that this host has. An address that was taken over and that
  // something has removed from this host is added again, unless another host has it.
  void put_back_missing(const std::vector<net::HostAddress>& here);
  // Looks for other hosts that have one of these addresses, as long as the daemon runs.
  asio::awaitable<void> watch();
  std::vector<std::string> warnings() const;

 private:
  struct Kept {
    std::string from;  // a Keep is repeated until it is answered
    bool doubled = false;
  };
  asio::awaitable<void> find_second_holder(IpAddress address);
  asio::awaitable<void> put_back(TakenOver address);

  Connections& connections_;
  std::map<IpAddress, TakenOver> all_;  // as in the journal
  std::map<IpAddress, Kept> kept_;      // those that are here for good
  std::set<IpAddress> missing_;         // those that are being added again
};

}  // namespace sockmi::daemon
