#include "net/ipsec.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "net/netlink_message.h"

namespace sockmi::net {
namespace {

bool is_in(const IpAddress& ip, const xfrm_address_t& network, unsigned bits) {
  const auto prefix =
      IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(&network), ip.size()});
  return prefix && ip.in_prefix(*prefix, bits);
}

bool matches(std::uint16_t port, __be16 wanted, __be16 mask) {
  return ((htons(port) ^ wanted) & mask) == 0;
}

bool applies(const xfrm_selector& selector, const SocketAddress& from, const SocketAddress& to) {
  return (selector.family == AF_UNSPEC || selector.family == from.ip.family) &&
         (selector.proto == 0 || selector.proto == IPPROTO_TCP) &&
         is_in(from.ip, selector.saddr, selector.prefixlen_s) &&
         is_in(to.ip, selector.daddr, selector.prefixlen_d) &&
         matches(from.port, selector.sport, selector.sport_mask) &&
         matches(to.port, selector.dport, selector.dport_mask);
}

bool has_transformation(const nlmsghdr* message) {
  bool found = false;
  for_each_attribute<xfrm_userpolicy_info>(message, [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == XFRMA_TMPL) found = mnl_attr_get_payload_len(attribute) > 0;
  });
  return found;
}

}  // namespace

Result<std::vector<IpsecPolicy>> ipsec_policies(Netlink& xfrm) {
  NetlinkRequest<xfrm_userpolicy_id> request(xfrm, XFRM_MSG_GETPOLICY, NLM_F_DUMP);
  std::vector<IpsecPolicy> policies;
  auto asked = request.ask("cannot read IPsec policies", [&](const nlmsghdr* message) {
    if (message->nlmsg_type != XFRM_MSG_NEWPOLICY) return;
    xfrm_userpolicy_info policy;  // a message is aligned to four bytes, this to eight
    if (mnl_nlmsg_get_payload_len(message) < sizeof policy) return;
    std::memcpy(&policy, mnl_nlmsg_get_payload(message), sizeof policy);
    if (policy.action != XFRM_POLICY_ALLOW || !has_transformation(message)) return;
    if (policy.dir == XFRM_POLICY_OUT || policy.dir == XFRM_POLICY_IN)
      policies.push_back({policy.sel, policy.dir == XFRM_POLICY_OUT});
  });
  if (!asked && asked.error().code != EOPNOTSUPP && asked.error().code != EINVAL)
    return pass(std::move(asked));
  return policies;
}

Result<> check_ipsec(std::span<const IpsecPolicy> policies, const FourTuple& connection) {
  const FourTuple tuple = connection.unmapped();
  const bool found = std::ranges::any_of(policies, [&](const IpsecPolicy& each) {
    return each.out ? applies(each.selector, tuple.local, tuple.remote)
                    : applies(each.selector, tuple.remote, tuple.local);
  });
  if (found) {
    return fail(ENOTSUP,
                "cannot move {}: IPsec of this host encrypts its packets, and another host does "
                "not have the keys",
                to_string(tuple));
  }
  return {};
}

}  // namespace sockmi::net
