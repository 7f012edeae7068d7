#include "net/addresses.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "net/netlink_message.h"

namespace sockmi::net {
namespace {

HostAddress read_address(const nlmsghdr* message) {
  const auto* head = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
  HostAddress out{.ip = {},
                  .prefix = head->ifa_prefixlen,
                  .interface = head->ifa_index,
                  .deprecated = (head->ifa_flags & IFA_F_DEPRECATED) != 0,
                  .secondary = head->ifa_family == AF_INET && (head->ifa_flags & IFA_F_SECONDARY),
                  .loopback = head->ifa_scope == RT_SCOPE_HOST};
  for_each_attribute<ifaddrmsg>(message, [&](const nlattr* attribute) {
    const std::uint16_t type = mnl_attr_get_type(attribute);
    // On a point-to-point interface, IFA_ADDRESS is the address of the other end.
    // IFA_LOCAL, if present, is ours.
    if (type != IFA_LOCAL && (type != IFA_ADDRESS || !out.ip.any())) return;
    if (auto ip = IpAddress::from_bytes(bytes_of(attribute))) out.ip = *ip;
  });
  return out;
}

Result<> change(int type, int flags, const HostAddress& address, std::uint32_t lifetime) {
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  NetlinkRequest<ifaddrmsg> request(*route, type, NLM_F_ACK | flags);
  request->ifa_family = static_cast<std::uint8_t>(address.ip.family);
  request->ifa_prefixlen = static_cast<std::uint8_t>(address.prefix);
  request->ifa_flags = address.ip.family == AF_INET6 ? IFA_F_NODAD : 0;
  request->ifa_index = address.interface;
  request.add(IFA_LOCAL, address.ip);
  request.add(IFA_ADDRESS, address.ip);
  const ifa_cacheinfo lifetimes{.ifa_prefered = address.deprecated ? 0 : lifetime,
                                .ifa_valid = lifetime,
                                .cstamp = 0,
                                .tstamp = 0};
  if (type == RTM_NEWADDR)
    mnl_attr_put(request.header(), IFA_CACHEINFO, sizeof lifetimes, &lifetimes);
  return request.send(("address " + to_string(address.ip)).c_str());
}

}  // namespace

Result<std::vector<HostAddress>> host_addresses() {
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  return host_addresses(*route);
}

Result<std::vector<HostAddress>> host_addresses(Netlink& route) {
  NetlinkRequest<ifaddrmsg> request(route, RTM_GETADDR, NLM_F_DUMP);
  request->ifa_family = AF_UNSPEC;
  std::vector<HostAddress> out;
  TRY(request.ask("cannot read addresses",
                  [&](const nlmsghdr* message) { out.push_back(read_address(message)); }));
  return out;
}

Result<> add_address(const HostAddress& address, std::optional<std::chrono::seconds> lifetime) {
  return change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address,
                lifetime ? static_cast<std::uint32_t>(lifetime->count()) : kInfiniteLifetime);
}

Result<> remove_address(const HostAddress& address) {
  auto removed = change(RTM_DELADDR, 0, address, 0);
  if (!removed && removed.error().code == EADDRNOTAVAIL) return {};
  return removed;
}

}  // namespace sockmi::net
