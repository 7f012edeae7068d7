// Which of this host's addresses other hosts are told.
#pragma once

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::net {

// The address of the other family on the interface that has `ours`: one that stays; where there is none, `before` as long as it is fit, or the one that
// lasts longest. any(): there is none. What is for one link only, temporary (RFC 8981), not wanted for new connections or not known to be ours alone
// yet, is never told.
Result<IpAddress> address_beside(const IpAddress& ours, const IpAddress& before = {});

// Hears of changes of this host's addresses. fd() polls readable when there were some.
class AddressNews {
 public:
  static Result<AddressNews> open();
  int fd() const { return socket_.get(); }
  void read();  // what is there: it says that, but not what

 private:
  explicit AddressNews(unique_fd socket) : socket_(std::move(socket)) {}
  unique_fd socket_;
};

}  // namespace sockmi::net
