// The connections of this host at a local address and port, as sock_diag lists them.
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include <cstring>

#include "steer/netlink.h"
#include "steer/steering.h"

namespace sockmi::steer {
namespace {

// Bound sockets have a state of their own here since Linux 6.8 (TCP_BOUND_INACTIVE).
constexpr std::uint32_t kTimeWait = 1u << 6, kClose = 1u << 7, kListen = 1u << 10, kBound = 1u << 13;

SocketAddress address(std::uint8_t family, const __be32* bytes, __be16 port) {
  const std::size_t size = family == AF_INET ? 4 : 16;
  return {*IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(bytes), size}), ntohs(port)};
}

}  // namespace

Result<std::vector<Connection>> connections_of(const SocketAddress& local) {
  TRY_LET(diag, Netlink::open(NETLINK_SOCK_DIAG));
  std::vector<Connection> out;
  for (const std::uint8_t family : {AF_INET, AF_INET6}) {
    alignas(nlmsghdr) char buffer[256] = {};
    nlmsghdr* header = mnl_nlmsg_put_header(buffer);
    header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = diag->next_sequence();
    auto* request = static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
    request->sdiag_family = family;
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_states = ~(kTimeWait | kClose | kListen | kBound);
    request->id.idiag_sport = htons(local.port);
    TRY(diag->dump(header, "sock_diag", [&](const nlmsghdr* message) {
      const auto* each = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message));
      const FourTuple tuple{address(each->idiag_family, each->id.idiag_src, each->id.idiag_sport),
                            address(each->idiag_family, each->id.idiag_dst, each->id.idiag_dport)};
      if (tuple.local.port != local.port || (!local.ip.wildcard() && tuple.local.ip.unmapped() != local.ip.unmapped())) return;
      out.push_back({tuple, each->idiag_state, each->id.idiag_cookie[0] | std::uint64_t(each->id.idiag_cookie[1]) << 32});
    }));
  }
  return out;
}

}  // namespace sockmi::steer
