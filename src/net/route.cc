#include "net/route.h"

#include <linux/rtnetlink.h>

namespace sockmi::net {

Result<NextHop> next_hop_to(Netlink& route, const IpAddress& address) {
  const IpAddress host = address.unmapped();
  alignas(nlmsghdr) char buffer[256] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = RTM_GETROUTE;
  header->nlmsg_flags = NLM_F_REQUEST;
  header->nlmsg_seq = route.next_sequence();
  auto* request = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  request->rtm_family = static_cast<unsigned char>(host.family);
  request->rtm_dst_len = static_cast<unsigned char>(host.size() * 8);
  mnl_attr_put(header, RTA_DST, host.size(), host.bytes.data());
  NextHop way;
  bool unicast = false, other_family = false;
  TRY(route.dump(header, "cannot read a route", [&](const nlmsghdr* message) {
    unicast = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message))->rtm_type == RTN_UNICAST;
    struct Found {
      NextHop& way;
      bool& other_family;
    } found{way, other_family};
    mnl_attr_parse(
        message, sizeof(rtmsg),
        [](const nlattr* attribute, void* data) {
          auto& [way, other_family] = *static_cast<Found*>(data);
          const ByteView value(static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute)),
                               mnl_attr_get_payload_len(attribute));
          switch (mnl_attr_get_type(attribute)) {
            case RTA_OIF: way.interface = mnl_attr_get_u32(attribute); break;
            case RTA_GATEWAY:
              if (auto gateway = IpAddress::from_bytes(value)) way.gateway = *gateway;
              break;
            case RTA_VIA: other_family = true; break;
          }
          return MNL_CB_OK;
        },
        &found);
  }));
  if (!unicast) return fail(ENOTSUP, "{} is not another host", to_string(host));
  if (other_family)
    return fail(ENOTSUP, "router to {} has an address of the other family", to_string(host));
  return way;
}

}  // namespace sockmi::net
