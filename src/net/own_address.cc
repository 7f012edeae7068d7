// Redirects lead to the chosen address, so it should exist as long as they do. Addresses
// that routers advertise (RFC 4862) expire as well, but the end is far away and is
// extended again and again. They are used only if there is no permanent address.
#include "net/own_address.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <optional>
#include <tuple>
#include <vector>

#include "net/addresses.h"
#include "net/netlink_message.h"

namespace sockmi::net {
namespace {

constexpr std::uint32_t kUnusableFlags =
    IFA_F_TEMPORARY | IFA_F_DEPRECATED | IFA_F_TENTATIVE | IFA_F_DADFAILED;

struct Address {
  IpAddress ip;
  unsigned interface = 0;
  std::uint32_t flags = 0;
  std::uint8_t scope = 0;
  std::uint32_t preferred = kInfiniteLifetime;
};

void read_attribute(const nlattr* attribute, Address& out) {
  const auto ip = IpAddress::from_bytes(bytes_of(attribute));
  switch (mnl_attr_get_type(attribute)) {
    case IFA_LOCAL:  // if it is present, IFA_ADDRESS is the address of the other end
      if (ip) out.ip = *ip;
      break;
    case IFA_ADDRESS:
      if (ip && out.ip.any()) out.ip = *ip;
      break;
    case IFA_FLAGS: out.flags = mnl_attr_get_u32(attribute); break;
    case IFA_CACHEINFO:
      out.preferred =
          static_cast<const ifa_cacheinfo*>(mnl_attr_get_payload(attribute))->ifa_prefered;
      break;
  }
}

Address read_candidate(const nlmsghdr* message) {
  const auto* head = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
  Address out{
      .ip = {}, .interface = head->ifa_index, .flags = head->ifa_flags, .scope = head->ifa_scope};
  for_each_attribute<ifaddrmsg>(message,
                                [&](const nlattr* attribute) { read_attribute(attribute, out); });
  // For IPv4 the same bit means "secondary".
  if (out.ip.family == AF_INET) out.flags &= ~std::uint32_t(IFA_F_TEMPORARY);
  return out;
}

}  // namespace

Result<IpAddress> address_of_other_family(const IpAddress& ours, const IpAddress& before) {
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  NetlinkRequest<ifaddrmsg> request(*route, RTM_GETADDR, NLM_F_DUMP);
  request->ifa_family = AF_UNSPEC;
  std::vector<Address> all;
  TRY(request.ask("addresses",
                  [&](const nlmsghdr* message) { all.push_back(read_candidate(message)); }));
  unsigned interface = 0;
  for (const Address& each : all)
    if (each.ip == ours) interface = each.interface;
  const auto rank = [&](const Address& each) {
    return std::tuple(each.preferred == kInfiniteLifetime, each.ip == before, each.preferred);
  };
  std::optional<Address> best;
  for (const Address& each : all) {
    if (each.interface != interface || each.ip.any() || each.ip.family == ours.family ||
        each.scope >= RT_SCOPE_LINK || (each.flags & kUnusableFlags))
      continue;
    if (!best || rank(each) > rank(*best) || (each.ip == before && rank(each) == rank(*best)))
      best = each;
  }
  return best ? best->ip : IpAddress();
}

Result<AddressMonitor> AddressMonitor::open() {
  TRY_LET(socket, subscribe(NETLINK_ROUTE, {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR}));
  return AddressMonitor(std::move(socket));
}

void AddressMonitor::read() {
  char buffer[16384];
  for (int i = 0; i < 256; ++i)  // a limit, so that a flood does not block the daemon
    if (::recv(fd(), buffer, sizeof buffer, 0) < 0 && errno != EINTR && errno != ENOBUFS) return;
}

}  // namespace sockmi::net
