#include "steer/wire_check.h"

#include <linux/netfilter_ipv4.h>
#include <sys/socket.h>

#include "base/address_scope.h"
#include "net/conntrack.h"
#include "net/interface_name.h"

namespace sockmi::steer {
namespace {

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

Result<> check_wire(KernelQueries& kernel, int socket, const FourTuple& tuple, const Sender& sender,
                    const std::vector<std::string>& interfaces) {
  const IpAddress peer = tuple.remote.ip.unmapped();
  TRY_LET(route, kernel.route_to(peer, sender));
  if (route.local || is_loopback(peer))
    return fail(ENOTSUP, "cannot move a connection whose peer {} is on this host", to_string(peer));
  if (!interfaces.empty()) {
    TRY_LET(listed, kernel.is_listed(route.interface, interfaces));
    if (!listed) {
      return fail(
          ENOTSUP,
          "route to {} uses {}, which is not in 'interfaces': its packets would not be redirected",
          to_string(peer), net::interface_name(route.interface));
    }
  }
  TRY_LET(policies, kernel.ipsec_policies());
  TRY(net::check_ipsec(*policies, tuple));
  TRY(check_original_destination(socket, tuple));
  return net::check_translation(tuple);
}

}  // namespace sockmi::steer
