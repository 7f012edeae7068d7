#include "net/addresses.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "net/netlink.h"

namespace sockmi::net {
namespace {

struct AddressMessage {
  alignas(nlmsghdr) char buffer[512] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
};

HostAddress read_address(const nlmsghdr* message) {
  const auto* head = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
  HostAddress out{.ip = {},
                  .prefix = head->ifa_prefixlen,
                  .interface = head->ifa_index,
                  .deprecated = (head->ifa_flags & IFA_F_DEPRECATED) != 0,
                  .secondary = head->ifa_family == AF_INET && (head->ifa_flags & IFA_F_SECONDARY),
                  .loopback = head->ifa_scope == RT_SCOPE_HOST};
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  for (auto* attribute =
           static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof *head));
       mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    const std::uint16_t type = mnl_attr_get_type(attribute);
    // On a point-to-point interface, IFA_ADDRESS is the address of the other end.
    // IFA_LOCAL, if present, is ours.
    if (type != IFA_LOCAL && (type != IFA_ADDRESS || !out.ip.any())) continue;
    if (auto ip = IpAddress::from_bytes(
            {static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute)),
             mnl_attr_get_payload_len(attribute)}))
      out.ip = *ip;
  }
  return out;
}

Result<> change(std::uint16_t type, std::uint16_t flags, const HostAddress& address,
                std::uint32_t lifetime) {
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  AddressMessage m;
  m.header->nlmsg_type = type;
  m.header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
  m.header->nlmsg_seq = route->next_sequence();
  auto* head = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(m.header, sizeof(ifaddrmsg)));
  head->ifa_family = static_cast<std::uint8_t>(address.ip.family);
  head->ifa_prefixlen = static_cast<std::uint8_t>(address.prefix);
  head->ifa_flags = address.ip.family == AF_INET6 ? IFA_F_NODAD : 0;
  head->ifa_index = address.interface;
  mnl_attr_put(m.header, IFA_LOCAL, address.ip.size(), address.ip.bytes.data());
  mnl_attr_put(m.header, IFA_ADDRESS, address.ip.size(), address.ip.bytes.data());
  const ifa_cacheinfo lifetimes{.ifa_prefered = address.deprecated ? 0 : lifetime,
                                .ifa_valid = lifetime,
                                .cstamp = 0,
                                .tstamp = 0};
  if (type == RTM_NEWADDR) mnl_attr_put(m.header, IFA_CACHEINFO, sizeof lifetimes, &lifetimes);
  return route->transact(m.header, m.header->nlmsg_len, 1,
                         ("address " + to_string(address.ip)).c_str());
}

}  // namespace

Result<std::vector<HostAddress>> host_addresses() {
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  return host_addresses(*route);
}

Result<std::vector<HostAddress>> host_addresses(Netlink& route) {
  AddressMessage m;
  m.header->nlmsg_type = RTM_GETADDR;
  m.header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  m.header->nlmsg_seq = route.next_sequence();
  static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(m.header, sizeof(ifaddrmsg)))->ifa_family =
      AF_UNSPEC;
  std::vector<HostAddress> out;
  TRY(route.dump(m.header, "cannot read addresses",
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
