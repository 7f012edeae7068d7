// Checks that a redirect would match a connection's packets.
//
// A redirect matches the addresses and ports that the socket has, in packets that come in
// by the watched interfaces. If the packets of a connection have other addresses or ports
// on the wire, or come in by another interface, the connection would be dead after a
// move.
#include "steer/path_lookup.h"

#include <linux/if_link.h>
#include <linux/netfilter_ipv4.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/unique_fd.h"
#include "net/conntrack.h"
#include "net/netlink.h"
#include "steer/kernel_queries.h"

namespace sockmi::steer {
namespace {

struct RouteMessage {
  alignas(nlmsghdr) char buffer[512] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
};

int read_metric(const nlattr* attribute, void* mtu) {
  if (mnl_attr_get_type(attribute) == RTAX_MTU && mnl_attr_get_payload_len(attribute) == 4)
    *static_cast<unsigned*>(mtu) = mnl_attr_get_u32(attribute);
  return MNL_CB_OK;
}

int read_attribute(const nlattr* attribute, void* data) {
  Route& route = *static_cast<Route*>(data);
  switch (mnl_attr_get_type(attribute)) {
    case RTA_OIF: route.interface = mnl_attr_get_u32(attribute); break;
    case RTA_GATEWAY:
    case RTA_VIA: route.by_router = true; break;
    case RTA_METRICS: mnl_attr_parse_nested(attribute, read_metric, &route.mtu); break;
  }
  return MNL_CB_OK;
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
  RouteMessage m;
  m.header->nlmsg_type = RTM_GETROUTE;
  m.header->nlmsg_flags = NLM_F_REQUEST;
  m.header->nlmsg_seq = netlink.next_sequence();
  auto* request = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(m.header, sizeof(rtmsg)));
  request->rtm_family = static_cast<unsigned char>(host.family);
  request->rtm_dst_len = static_cast<unsigned char>(host.size() * 8);
  mnl_attr_put(m.header, RTA_DST, host.size(), host.bytes.data());
  if (!sender.address.any()) {
    request->rtm_src_len = static_cast<unsigned char>(host.size() * 8);
    mnl_attr_put(m.header, RTA_SRC, sender.address.size(), sender.address.bytes.data());
  }
  if (sender.mark) mnl_attr_put_u32(m.header, RTA_MARK, sender.mark);
  if (sender.interface) mnl_attr_put_u32(m.header, RTA_OIF, sender.interface);
  Route route;
  unsigned type = RTN_UNSPEC;
  TRY(netlink.dump(m.header, ("cannot read the route to " + to_string(host)).c_str(),
                   [&](const nlmsghdr* message) {
                     type = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message))->rtm_type;
                     mnl_attr_parse(message, sizeof(rtmsg), read_attribute, &route);
                   }));
  route.local = type == RTN_LOCAL;
  if (type != RTN_LOCAL && type != RTN_UNICAST)
    return fail(ENETUNREACH, "no route to {}", to_string(host));
  const unsigned link = mtu_of(route.interface);
  route.mtu = route.mtu == 0 ? link : std::min(route.mtu, link);
  return route;
}

// For a connection that came in. Detects a translation even if the kernel has no netlink
// interface for connection tracking.
Result<> check_original_destination(int socket, const FourTuple& tuple) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  const bool v4 = tuple.local.ip.unmapped().family == AF_INET;
  if (::getsockopt(socket, v4 ? SOL_IP : SOL_IPV6, SO_ORIGINAL_DST, &address, &size) != 0)
    return {};
  const SocketAddress original = SocketAddress::from(reinterpret_cast<const sockaddr*>(&address));
  const FourTuple plain = tuple.unmapped();
  // For a connection that we began, the original destination is the peer.
  if (original == plain.local || original == plain.remote) return {};
  return fail(ENOTSUP, "cannot move a connection whose address this host translates ({} to {})",
              to_string(original), to_string(plain.local));
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
  RouteMessage m;
  m.header->nlmsg_type = RTM_GETLINK;
  m.header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  m.header->nlmsg_seq = route.next_sequence();
  mnl_nlmsg_put_extra_header(m.header, sizeof(ifinfomsg));
  bool listed = false;
  struct Link {
    std::string name;
    unsigned master = 0;
  };
  TRY(route.dump(m.header, "cannot read interfaces", [&](const nlmsghdr* message) {
    Link link;
    mnl_attr_parse(
        message, sizeof(ifinfomsg),
        [](const nlattr* attribute, void* data) {
          Link& out = *static_cast<Link*>(data);
          if (mnl_attr_get_type(attribute) == IFLA_IFNAME) out.name = mnl_attr_get_str(attribute);
          if (mnl_attr_get_type(attribute) == IFLA_MASTER) out.master = mnl_attr_get_u32(attribute);
          return MNL_CB_OK;
        },
        &link);
    listed |=
        link.master == interface && std::ranges::find(interfaces, link.name) != interfaces.end();
  }));
  return listed;
}

Result<> check_wire(KernelQueries& kernel, int socket, const FourTuple& tuple, const Sender& sender,
                    const std::vector<std::string>& interfaces) {
  static const IpAddress loopback = *IpAddress::parse("127.0.0.0");
  const IpAddress peer = tuple.remote.ip.unmapped();
  TRY_LET(route, kernel.route_to(peer, sender));
  if (route.local || peer.in_prefix(loopback, 8))
    return fail(ENOTSUP, "cannot move a connection whose peer {} is on this host", to_string(peer));
  if (!interfaces.empty()) {
    TRY_LET(listed, kernel.is_listed(route.interface, interfaces));
    char name[IF_NAMESIZE] = "?";
    if (!listed) {
      return fail(
          ENOTSUP,
          "route to {} uses {}, which is not in 'interfaces': its packets would not be redirected",
          to_string(peer), ::if_indextoname(route.interface, name) ? name : "?");
    }
  }
  TRY_LET(policies, kernel.ipsec_policies());
  TRY(net::check_ipsec(*policies, tuple));
  TRY(check_original_destination(socket, tuple));
  return net::check_translation(tuple);
}

}  // namespace sockmi::steer
