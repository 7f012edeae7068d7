#include "steer/path_lookup.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/unique_fd.h"
#include "net/netlink_message.h"

namespace sockmi::steer {
namespace {

int read_metric(const nlattr* attribute, void* mtu) {
  if (mnl_attr_get_type(attribute) == RTAX_MTU && mnl_attr_get_payload_len(attribute) == 4)
    *static_cast<unsigned*>(mtu) = mnl_attr_get_u32(attribute);
  return MNL_CB_OK;
}

void read_attribute(const nlattr* attribute, Route& route) {
  switch (mnl_attr_get_type(attribute)) {
    case RTA_OIF: route.interface = mnl_attr_get_u32(attribute); break;
    case RTA_GATEWAY:
    case RTA_VIA: route.by_router = true; break;
    case RTA_METRICS: mnl_attr_parse_nested(attribute, read_metric, &route.mtu); break;
  }
}

unsigned mtu_of(unsigned interface) {
  const unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  if (!::if_indextoname(interface, request.ifr_name) ||
      ::ioctl(any.get(), SIOCGIFMTU, &request) != 0)
    return 0;
  return static_cast<unsigned>(request.ifr_mtu);
}

Result<Route> ask(net::Netlink& netlink, const IpAddress& host, const Sender& sender) {
  net::NetlinkRequest<rtmsg> request(netlink, RTM_GETROUTE, 0);
  request->rtm_family = static_cast<unsigned char>(host.family);
  request->rtm_dst_len = static_cast<unsigned char>(host.size() * 8);
  request.add(RTA_DST, host);
  if (!sender.address.any()) {
    request->rtm_src_len = static_cast<unsigned char>(host.size() * 8);
    request.add(RTA_SRC, sender.address);
  }
  if (sender.mark) request.add(RTA_MARK, sender.mark);
  if (sender.interface) request.add(RTA_OIF, sender.interface);
  Route route;
  unsigned type = RTN_UNSPEC;
  TRY(request.ask(
      ("cannot read the route to " + to_string(host)).c_str(), [&](const nlmsghdr* message) {
        type = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message))->rtm_type;
        net::for_each_attribute<rtmsg>(
            message, [&](const nlattr* attribute) { read_attribute(attribute, route); });
      }));
  route.local = type == RTN_LOCAL;
  if (type != RTN_LOCAL && type != RTN_UNICAST)
    return fail(ENETUNREACH, "no route to {}", to_string(host));
  const unsigned link = mtu_of(route.interface);
  route.mtu = route.mtu == 0 ? link : std::min(route.mtu, link);
  return route;
}

}  // namespace

Result<Route> route_to(net::Netlink& route, const IpAddress& host, const Sender& sender) {
  const IpAddress to = host.unmapped(), from = sender.address.unmapped();
  auto found = ask(route, to, {from, sender.mark, sender.interface});
  // A foreign address is not an address of this host: the kernel routes its packets, but
  // refuses a route query that has it as the source.
  if (!found && !from.any()) found = ask(route, to, {{}, sender.mark, sender.interface});
  return found;
}

// An interface counts as listed by its own name, or if an interface below it is listed: a
// port of a bridge, a member of a bond.
Result<bool> is_listed(net::Netlink& route, unsigned interface,
                       const std::vector<std::string>& interfaces) {
  char name[IF_NAMESIZE] = {};
  if (!::if_indextoname(interface, name)) return fail_errno("cannot read the interface");
  if (std::ranges::find(interfaces, name) != interfaces.end()) return true;
  net::NetlinkRequest<ifinfomsg> request(route, RTM_GETLINK, NLM_F_DUMP);
  bool listed = false;
  TRY(request.ask("cannot read interfaces", [&](const nlmsghdr* message) {
    std::string each;
    unsigned master = 0;
    net::for_each_attribute<ifinfomsg>(message, [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == IFLA_IFNAME) each = mnl_attr_get_str(attribute);
      if (mnl_attr_get_type(attribute) == IFLA_MASTER) master = mnl_attr_get_u32(attribute);
    });
    listed |= master == interface && std::ranges::find(interfaces, each) != interfaces.end();
  }));
  return listed;
}

}  // namespace sockmi::steer
