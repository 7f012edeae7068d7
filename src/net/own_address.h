// Chooses which of this host's addresses is announced to other hosts.
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::net {

// Returns an address of the other family on the interface that has `ours`; any() if there
// is none. Prefers a permanent address, and among several permanent ones `before`. If
// none is permanent, returns `before` as long as it is usable, otherwise the address with
// the longest lifetime. Never returns an address that is valid on one link only,
// temporary (RFC 8981), deprecated (not to be used for new connections), or not yet known
// to be unique.
Result<IpAddress> address_of_other_family(const IpAddress& ours, const IpAddress& before = {});

// Notices changes of this host's addresses. fd() is readable when there were some.
class AddressMonitor {
 public:
  static Result<AddressMonitor> open();
  int fd() const { return socket_.get(); }
  // Discards the pending notifications, which say only that something has changed.
  void read();

 private:
  explicit AddressMonitor(unique_fd socket) : socket_(std::move(socket)) {}
  unique_fd socket_;
};

}  // namespace sockmi::net
