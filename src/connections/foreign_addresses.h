// Maintains the kernel's list of foreign connections and ports: they live here, but their
// address belongs to another host. When their packets find no socket, this host must
// neither answer them nor send them back.
//
// A foreign connection has its socket before the first packet is redirected here. So the
// list matters only after that socket is gone, and need not be written during a freeze.
// Changes are collected, and are written in one transaction when the event loop gets to
// it. A failed write is repeated.
#pragma once

#include <chrono>
#include <map>
#include <optional>

#include <boost/asio/awaitable.hpp>

#include "base/address.h"
#include "base/error.h"
#include "context/services.h"

namespace sockmi::daemon {

class ForeignAddresses {
 public:
  explicit ForeignAddresses(const Services& services) : services_(services) {}
  ForeignAddresses(const ForeignAddresses&) = delete;

  // `tuple`: the addresses as they are in packets; without a peer, everything that is
  // sent to its address and port. Reference-counted: each add() needs one drop(). The
  // last drop() leaves the entry in the list for `linger`, for the last packets.
  void add(const FourTuple& tuple);
  void drop(const FourTuple& tuple, std::chrono::milliseconds linger);
  // Makes the entries of an earlier daemon that have not been added again expire after
  // `linger`.
  Result<> adopt(std::chrono::milliseconds linger);
  bool has(const FourTuple& tuple) const { return counts_.contains(tuple.unmapped()); }

 private:
  void change(const FourTuple& tuple, std::optional<std::chrono::milliseconds> expires_in);
  boost::asio::awaitable<void> write();

  const Services& services_;
  std::map<FourTuple, unsigned> counts_;
  std::map<FourTuple, std::optional<std::chrono::milliseconds>> unwritten_;
  bool writing_ = false;
};

}  // namespace sockmi::daemon
