#include "steer/ruleset_monitor.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include <fmt/core.h>
#include <libmnl/libmnl.h>

#include "base/unique_fd.h"
#include "net/netlink.h"

namespace sockmi::steer {
namespace {

// Datagrams per call, so that a flood of changes by others does not block the daemon.
constexpr int kMaxAtOnce = 256;

// Returns the last attribute with that number.
const nlattr* attribute_of(const nlmsghdr* message, unsigned head, std::uint16_t wanted) {
  std::pair<std::uint16_t, const nlattr*> found{wanted, nullptr};
  mnl_attr_parse(
      message, head,
      [](const nlattr* attribute, void* data) {
        auto& [wanted, found] = *static_cast<std::pair<std::uint16_t, const nlattr*>*>(data);
        if (mnl_attr_get_type(attribute) == wanted) found = attribute;
        return MNL_CB_OK;
      },
      &found);
  return found.second;
}

// Additions by others, and changes of other tables, do not concern us.
bool removes_ours(const nlmsghdr* message) {
  constexpr int kChanges[] = {NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET,
                              NFT_MSG_DELSETELEM};
  if (std::ranges::find(kChanges, NFNL_MSG_TYPE(message->nlmsg_type)) == std::end(kChanges))
    return false;
  // The table's name is the first attribute of each of these messages, and has the same
  // number in all of them.
  const nlattr* table = attribute_of(message, sizeof(nfgenmsg), NFTA_TABLE_NAME);
  return table && mnl_attr_validate(table, MNL_TYPE_NUL_STRING) >= 0 &&
         std::strcmp(mnl_attr_get_str(table), "sockmi") == 0;
}

// The message that ends the notifications of a transaction identifies the process.
std::string who(const nlmsghdr* generation) {
  const nlattr* name = attribute_of(generation, sizeof(nfgenmsg), NFTA_GEN_PROC_NAME);
  const nlattr* pid = attribute_of(generation, sizeof(nfgenmsg), NFTA_GEN_PROC_PID);
  if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0 || !pid ||
      mnl_attr_validate(pid, MNL_TYPE_U32) < 0)
    return "";
  return fmt::format("{} ({})", mnl_attr_get_str(name), ntohl(mnl_attr_get_u32(pid)));
}

class KernelChanges : public Changes {
 public:
  KernelChanges(unique_fd netfilter, unique_fd route, unique_fd both)
      : netfilter_(std::move(netfilter)),
        route_(std::move(route)),
        both_(std::move(both)) {}
  int fd() const override { return both_.get(); }

  News heard(std::uint32_t own_port) override {
    News news;
    read(netfilter_.get(), missed_[0], news, [&](const nlmsghdr* message) {
      if (message->nlmsg_pid == own_port ||
          NFNL_SUBSYS_ID(message->nlmsg_type) != NFNL_SUBSYS_NFTABLES)
        return;
      if (NFNL_MSG_TYPE(message->nlmsg_type) != NFT_MSG_NEWGEN) {
        taken_ |= removes_ours(message);
      } else if (std::exchange(taken_, false)) {
        news.add({.ours = true, .network = false, .by = who(message)});
      }
    });
    read(route_.get(), missed_[1], news, [&](const nlmsghdr* message) {
      news.network = true;
      // When an interface is deleted, its chain disappears without a notification of its
      // own. AF_UNSPEC excludes the message with the same type that reports a port
      // leaving its bridge.
      if (message->nlmsg_type == RTM_DELLINK &&
          static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message))->ifi_family == AF_UNSPEC)
        news.ours = true;
    });
    return news;
  }

 private:
  // The kernel reports once that its buffer was full, and drops further messages until
  // all buffered ones were read. Until then everything counts as changed.
  template <class Each>
  static void read(int fd, bool& missed, News& news, Each each) {
    alignas(nlmsghdr) char buffer[65536];
    for (int i = 0; i < kMaxAtOnce; ++i) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got < 0 && errno == EINTR) continue;
      missed |= got < 0 && errno == ENOBUFS;
      if (missed) news.add({.ours = true, .network = true, .by = {}});
      if (got < 0 && errno == ENOBUFS) continue;
      if (got <= 0) {
        missed = false;
        return;
      }
      int left = static_cast<int>(got);
      for (auto* message = reinterpret_cast<const nlmsghdr*>(buffer); mnl_nlmsg_ok(message, left);
           message = mnl_nlmsg_next(message, &left))
        each(message);
    }
  }

  unique_fd netfilter_, route_, both_;  // the last one is readable when one of the others is
  bool missed_[2] = {};                 // of the netfilter socket, and of the route socket
  bool taken_ = false;                  // in the transaction whose end has not been read yet
};

}  // namespace

Result<std::unique_ptr<Changes>> Changes::open() {
  TRY_LET(netfilter, net::subscribe(NETLINK_NETFILTER, {NFNLGRP_NFTABLES}));
  TRY_LET(route, net::subscribe(NETLINK_ROUTE, {RTNLGRP_LINK, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE,
                                                RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE}));
  unique_fd both(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (!both || ::epoll_ctl(both.get(), EPOLL_CTL_ADD, netfilter.get(), &event) != 0 ||
      ::epoll_ctl(both.get(), EPOLL_CTL_ADD, route.get(), &event) != 0)
    return fail_errno("cannot use epoll");
  return std::make_unique<KernelChanges>(std::move(netfilter), std::move(route), std::move(both));
}

}  // namespace sockmi::steer
