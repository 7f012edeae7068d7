// One netlink conversation: requests that are answered by an acknowledgement, or by a dump. The seam between us and the kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>

#include <libmnl/libmnl.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::net {

class Netlink {
 public:
  static Result<std::unique_ptr<Netlink>> open(int bus);  // NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG
  virtual ~Netlink() = default;
  // Sends `size` bytes of messages and waits for `acks` acknowledgements, or the first error: it is returned as it is.
  virtual Result<> transact(const void* messages, std::size_t size, unsigned acks, const char* what) = 0;
  // Sends one request and calls `each` for every message of the answer: a dump's many, or the one that was asked for.
  virtual Result<> dump(const nlmsghdr* request, const char* what, const std::function<void(const nlmsghdr*)>& each) = 0;
  // How many bytes the kernel takes in one transact().
  virtual std::size_t capacity() const = 0;
  // By this number the kernel names the socket to those who listen to what others change.
  virtual std::uint32_t port() const { return 0; }
  unsigned next_sequence() { return ++sequence_; }

 private:
  unsigned sequence_ = 0;
};

// A socket that hears what happens in these groups (RTNLGRP_*, NFNLGRP_*), and never blocks. ENOBUFS from recv(2): something was missed.
Result<unique_fd> subscribe(int bus, std::initializer_list<int> groups);

}  // namespace sockmi::net
