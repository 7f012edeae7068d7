// The old holder's half of a takeover: moves the connections at an address, then the
// address. See takeover.h for the order and the reasons.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "applications/export_requests.h"
#include "connections/connections.h"
#include "takeover/taken_addresses.h"

namespace sockmi::daemon {

struct TakeoverOutcome {
  std::string host;    // the new holder
  unsigned moved = 0;  // connections
  // Only with `force`: the connections that were left, because no application exported
  // them.
  std::vector<FourTuple> lost;
};

class AddressGiver {
 public:
  AddressGiver(Connections& connections, ExportRequests& requests, TakenAddresses& taken)
      : connections_(connections),
        requests_(requests),
        taken_(taken) {}

  // Moves our `address` to the host `to`, given by name or address. With `force` also if
  // connections are left that no application exports: they end.
  asio::awaitable<Result<TakeoverOutcome>> give(IpAddress address, std::string to, bool force);

 private:
  Result<net::HostAddress> find_own(const IpAddress& address) const;
  asio::awaitable<Result<>> send(const cluster::HostInfo& to, wire::TakeOverStep step,
                                 const net::HostAddress& address);
  asio::awaitable<ExportOutcome> export_connections(IpAddress address, IpAddress to);
  asio::awaitable<Result<TakeoverOutcome>> move_connections(IpAddress address, cluster::HostInfo to,
                                                            bool force);
  asio::awaitable<Result<>> hand_over_address(net::HostAddress address, cluster::HostInfo to);
  struct KeepOutcome;
  asio::awaitable<KeepOutcome> send_keep(net::HostAddress address, cluster::HostInfo to,
                                         Clock::time_point hold_ends);

  Connections& connections_;
  ExportRequests& requests_;
  TakenAddresses& taken_;
  // One takeover at a time; its coroutine may outlive this object.
  std::shared_ptr<bool> giving_ = std::make_shared<bool>(false);
};

}  // namespace sockmi::daemon
