// Sends netlink requests and reads their answers: acknowledgements, or a dump. This class
// is the interface to the kernel that tests replace.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::net {

class Netlink {
 public:
  // `bus`: NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG or NETLINK_XFRM.
  static Result<std::unique_ptr<Netlink>> open(int bus);
  virtual ~Netlink() = default;
  // Sends `size` bytes of messages and waits for `acks` acknowledgements, or for the
  // first error, which is returned unchanged. `what` is used in the error's text.
  virtual Result<> transact(const void* messages, std::size_t size, unsigned acks,
                            const char* what) = 0;
  // Sends one request and calls `each` for every message of the answer: the many messages
  // of a dump, or the single one requested.
  virtual Result<> dump(const nlmsghdr* request, const char* what,
                        const std::function<void(const nlmsghdr*)>& each) = 0;
  // Returns how many bytes the kernel accepts in one transact().
  virtual std::size_t capacity() const = 0;
  // Returns the number by which the kernel identifies this socket to subscribers of
  // change notifications.
  virtual std::uint32_t port() const { return 0; }
  unsigned next_sequence() { return ++sequence_; }

 private:
  unsigned sequence_ = 0;
};

// Opens a non-blocking socket that receives the notifications of these groups (RTNLGRP_*,
// NFNLGRP_*). If recv(2) fails with ENOBUFS, notifications were lost.
Result<unique_fd> subscribe(int bus, std::initializer_list<int> groups);

}  // namespace sockmi::net
