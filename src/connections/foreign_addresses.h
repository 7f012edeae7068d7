// Keeps the kernel's list of the guests here: connections and ports of other hosts' addresses, whose packets must not be answered, nor sent back, when
// they meet no socket.
//
// A guest has its socket before the first packet is redirected here, so the list matters only when that has gone, and need not be written in a
// freeze: what is asked for is put together and written when the loop comes to it, in one transaction. What can not be written is tried again.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {
class NamespacedSteering;
}

namespace sockmi::daemon {

class ForeignAddresses {
 public:
  ForeignAddresses(boost::asio::io_context& io, const std::unique_ptr<steer::NamespacedSteering>& steering) : io_(io), steering_(steering) {}
  ForeignAddresses(const ForeignAddresses&) = delete;

  // `guest`: as packets have its addresses; without a peer, all that comes to its address and port. Each add() wants one drop(); the last one leaves
  // the guest on the list for `linger`, for its last packets.
  void add(const FourTuple& guest);
  void drop(const FourTuple& guest, std::chrono::milliseconds linger);
  // What is on the list from before, and nobody has added since, is left to its last packets.
  Result<> adopt(std::chrono::milliseconds linger);
  bool has(const FourTuple& guest) const { return guests_.contains(guest.unmapped()); }

 private:
  void change(const FourTuple& guest, std::optional<std::chrono::milliseconds> expires_in);
  boost::asio::awaitable<void> write();

  boost::asio::io_context& io_;
  const std::unique_ptr<steer::NamespacedSteering>& steering_;
  std::map<FourTuple, unsigned> guests_;
  std::map<FourTuple, std::optional<std::chrono::milliseconds>> unwritten_;
  bool writing_ = false;
};

}  // namespace sockmi::daemon
