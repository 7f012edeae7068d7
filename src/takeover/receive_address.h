// The new holder's half of a takeover: has the address for a limited time, then for good.
// See takeover.h for the order and the reasons.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "connections/connections.h"
#include "takeover/taken_addresses.h"

namespace sockmi::daemon {

class AddressReceiver {
 public:
  AddressReceiver(Connections& connections, TakenAddresses& taken)
      : connections_(connections),
        taken_(taken) {}

  // Handles a message that the holder of an address sends to its next holder.
  Result<> on_message(const std::string& from, const wire::TakeOver& message);

 private:
  struct Held {
    net::HostAddress address;
    std::string from;
    std::uint64_t attempt;
  };
  struct Probe {
    Clock::time_point ended;
    Result<bool> elsewhere = false;
  };
  Result<net::HostAddress> find_place(const wire::TakeOver& message) const;
  Result<> hold(const std::string& from, const net::HostAddress& address);
  Result<> keep(const std::string& from, const net::HostAddress& address);
  Result<> keep_after_a_probe(const std::string& from, const net::HostAddress& address, bool held);
  Result<> drop(const IpAddress& address);
  asio::awaitable<void> probe(net::HostAddress address, bool held);
  asio::awaitable<void> resolve_in_doubt(IpAddress address, std::uint64_t attempt);

  Connections& connections_;
  TakenAddresses& taken_;
  std::uint64_t attempts_ = 0;
  std::map<IpAddress, Held> held_;
  std::map<IpAddress, std::optional<Probe>> probes_;  // none: in progress
};

}  // namespace sockmi::daemon
