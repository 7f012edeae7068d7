#include "tcp/packet_options.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <netinet/ip.h>

#include <algorithm>

#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr int kTcpAoInfo = 40;  // not in Debian 12's headers yet
constexpr int kUsualHops = 64, kManyHops = 32;
constexpr unsigned kTimestamp = 12, kTcpHeader = 20;

Result<> check_signature(int fd) {
  char info[256] = {};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, kTcpAoInfo, info, &size) != 0) return {};
  return fail(ENOTSUP, "cannot move the keys of TCP-AO: the kernel does not show them");
}

Result<> check_source_route(int fd, bool v4) {
  std::uint8_t options[256] = {};
  socklen_t size = v4 ? 40 : sizeof options;
  if (::getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_OPTIONS : IPV6_RTHDR, options,
                   &size) != 0 ||
      size == 0)
    return {};
  for (std::size_t at = 0; v4 && at < size && options[at] != IPOPT_END;) {
    if (options[at] == IPOPT_LSRR || options[at] == IPOPT_SSRR)
      return fail(ENOTSUP, "cannot move a connection whose packets have a source route");
    at += options[at] == IPOPT_NOP ? 1 : std::max<std::size_t>(2, options[at + 1]);
  }
  if (!v4) return fail(ENOTSUP, "cannot move a connection whose packets have a routing header");
  return {};
}

// A home that forwards a packet counts as a hop, and so do the routers behind it. The
// kernel keeps the hop count of an accepted socket's first packet as the hop limit of its
// multicasts, for which TCP has no other use.
Result<> check_hops(int fd, bool v4) {
  const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
  const int least =
      get<int>(fd, level, v4 ? IP_MINTTL : 73 /* IPV6_MINHOPCOUNT */, "least hops").value_or(0);
  if (least <= 1) return {};
  const int kept =
      get<int>(fd, level, v4 ? IP_MULTICAST_TTL : IPV6_MULTICAST_HOPS, "hops").value_or(1);
  const int seen = kept > 1 ? kept : kUsualHops;
  if (seen - least >= kManyHops) return {};
  return fail(ENOTSUP, "cannot keep IP_MINTTL {}: redirected packets have fewer hops left", least);
}

}  // namespace

Result<Wire> wire_of(int fd, const SocketInfo& facts) {
  Wire wire;
  TRY(check_signature(fd));
  wire.device = static_cast<unsigned>(
      get<int>(fd, SOL_SOCKET, SO_BINDTOIFINDEX, "SO_BINDTOIFINDEX").value_or(0));
  wire.mark = get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK").value_or(0);
  if (!facts.connected()) return wire;
  const bool v4 = facts.tuple.local.ip.unmapped().family == AF_INET;
  TRY(check_source_route(fd, v4));
  TRY(check_hops(fd, v4));
  wire.near = get<int>(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS, "hops")
                  .value_or(0) == 255;
  TRY_LET(info, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
  // The peer's packets are not larger than the MSS that we announced, nor than the MTU of
  // the path to this host; nor, most likely, than the packets that the peer accepts.
  const unsigned mss = std::max(info.tcpi_snd_mss, info.tcpi_rcv_mss),
                 header = (v4 ? 20 : 40) + kTcpHeader;
  const unsigned options = info.tcpi_options & TCPI_OPT_TIMESTAMPS ? kTimestamp : 0;
  const unsigned segment =
      facts.state == kSynSent ? info.tcpi_advmss : std::min(info.tcpi_advmss, mss) + options;
  wire.largest = std::min(segment + header, info.tcpi_pmtu ? info.tcpi_pmtu : 65535u);
  return wire;
}

}  // namespace sockmi::tcp
