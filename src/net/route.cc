#include "net/route.h"

#include <linux/rtnetlink.h>

#include "net/netlink_message.h"

namespace sockmi::net {

Result<NextHop> next_hop_to(Netlink& route, const IpAddress& address) {
  const IpAddress host = address.unmapped();
  NetlinkRequest<rtmsg> request(route, RTM_GETROUTE, 0);
  request->rtm_family = static_cast<unsigned char>(host.family);
  request->rtm_dst_len = static_cast<unsigned char>(host.size() * 8);
  request.add(RTA_DST, host);
  NextHop hop;
  bool unicast = false, other_family = false;
  TRY(request.ask("cannot read a route", [&](const nlmsghdr* message) {
    unicast = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message))->rtm_type == RTN_UNICAST;
    for_each_attribute<rtmsg>(message, [&](const nlattr* attribute) {
      switch (mnl_attr_get_type(attribute)) {
        case RTA_OIF: hop.interface = mnl_attr_get_u32(attribute); break;
        case RTA_GATEWAY:
          if (auto gateway = IpAddress::from_bytes(bytes_of(attribute))) hop.gateway = *gateway;
          break;
        case RTA_VIA: other_family = true; break;
      }
    });
  }));
  if (!unicast) return fail(ENOTSUP, "{} is not another host", to_string(host));
  if (other_family)
    return fail(ENOTSUP, "router to {} has an address of the other family", to_string(host));
  return hop;
}

}  // namespace sockmi::net
