#include "migration/path_check.h"

#include "net/addresses.h"
#include "steer/wire_check.h"

namespace sockmi::daemon {
namespace {

Result<> check_signature(const tcp::SocketInfo& facts) {
  const auto socket = net::find_by_cookie(facts.tuple, facts.cookie);
  // Older kernels do not list a socket that is only bound.
  if (!socket || !socket->is_signed) return {};
  return fail(ENOTSUP, "cannot move the keys of TCP-MD5: the kernel does not show them");
}

}  // namespace

Result<tcp::Wire> may_leave(const Services& services, steer::KernelQueries& kernel, int socket,
                            const tcp::SocketInfo& facts, bool is_ours) {
  TRY_LET(wire, tcp::wire_of(socket, facts));
  const IpAddress local = facts.tuple.local.ip.unmapped();
  // In a container, all of its interfaces are watched.
  const auto interfaces = is_ours && !services.steering->in_other_namespace(local)
                              ? services.settings.interfaces
                              : std::vector<std::string>();
  TRY(services.steering->within(local, [&]() -> Result<> {
    TRY(check_signature(facts));
    return facts.connected() ? steer::check_wire(kernel, socket, facts.tuple,
                                                 {local, wire.mark, wire.device}, interfaces)
                             : Result<>();
  }));
  return wire;
}

wire::PathRequirements path_requirements(steer::KernelQueries& kernel, const FourTuple& tuple,
                                         const tcp::Wire& wire, bool is_ours) {
  bool near = false;
  if (is_ours && wire.near) {
    if (const auto route =
            kernel.route_to(tuple.remote.ip, {tuple.local.ip, wire.mark, wire.device}))
      near = !route->by_router;
  }
  return {tuple, wire.largest, near};
}

Result<> is_wide_enough(steer::KernelQueries& kernel, const IpAddress& importer, unsigned largest) {
  if (importer.any()) return {};
  TRY_LET(route, kernel.route_to(importer));
  if (route.mtu >= largest) return {};
  return fail(ENOTSUP, "path to {} takes packets of {} bytes, and the peer sends packets of {}",
              to_string(importer), route.mtu, largest);
}

Result<> may_arrive(const Services& services, steer::KernelQueries& kernel,
                    const wire::PathRequirements& connection) {
  const auto& [tuple, largest, near] = connection;
  const std::string& host = services.settings.host;
  TRY_LET(to_peer, kernel.route_to(tuple.remote.ip));
  if (to_peer.local)
    return fail(ENOTSUP, "cannot import a connection whose peer is {} itself", host);
  if (near && to_peer.by_router) {
    return fail(ENOTSUP,
                "cannot keep the hop limit of 255, which the peer may require: there is a router "
                "between it and {}",
                host);
  }
  // As far as this host knows, the path back is equally wide.
  TRY_LET(to_home, kernel.route_to(tuple.local.ip));
  if (to_home.local || to_home.mtu >= largest) return {};
  return fail(ENOTSUP, "path to {} takes packets of {} bytes, and the peer sends packets of {}",
              host, to_home.mtu, largest);
}

}  // namespace sockmi::daemon
