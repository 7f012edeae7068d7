#include "steer/kernel_queries.h"

#include <linux/netlink.h>

#include "net/thread_netlink.h"

namespace sockmi::steer {
namespace {

template <class T, class Ask>
Result<const T*> once(std::optional<Result<T>>& answer, Ask ask) {
  if (!answer) answer = ask();
  if (!*answer) return std::unexpected(answer->error());
  return &**answer;
}

}  // namespace

Result<const std::vector<net::HostAddress>*> KernelQueries::addresses() {
  return once(addresses_, []() -> Result<std::vector<net::HostAddress>> {
    TRY_LET(route, net::thread_netlink(NETLINK_ROUTE));
    return net::host_addresses(*route);
  });
}

Result<const std::vector<net::IpsecPolicy>*> KernelQueries::ipsec_policies() {
  return once(policies_, []() -> Result<std::vector<net::IpsecPolicy>> {
    const auto xfrm = net::thread_netlink(NETLINK_XFRM);
    // A kernel without IPsec has no policies.
    return xfrm ? net::ipsec_policies(**xfrm) : std::vector<net::IpsecPolicy>();
  });
}

Result<Route> KernelQueries::route_to(const IpAddress& host, const Sender& sender) {
  const std::tuple key(host.unmapped(), sender.address.unmapped(), sender.mark, sender.interface);
  if (const auto known = routes_.find(key); known != routes_.end()) return known->second;
  TRY_LET(route, net::thread_netlink(NETLINK_ROUTE));
  return routes_.emplace(key, steer::route_to(*route, host, sender)).first->second;
}

Result<bool> KernelQueries::is_listed(unsigned interface,
                                      const std::vector<std::string>& interfaces) {
  if (const auto known = listed_.find(interface); known != listed_.end()) return known->second;
  TRY_LET(route, net::thread_netlink(NETLINK_ROUTE));
  return listed_.emplace(interface, steer::is_listed(*route, interface, interfaces)).first->second;
}

}  // namespace sockmi::steer
