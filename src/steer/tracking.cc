#include "steer/tracking.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <unistd.h>

namespace sockmi::steer {

bool tracks_connections() { return ::access("/proc/sys/net/netfilter/nf_conntrack_count", F_OK) == 0; }

Result<> forget_tracked(Netlink& netfilter, const FourTuple& tuple) {
  if (!tracks_connections()) return {};
  const IpAddress from = tuple.remote.ip.unmapped(), to = tuple.local.ip.unmapped();
  const bool v4 = from.family == AF_INET;
  alignas(nlmsghdr) char buffer[512] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  header->nlmsg_seq = netfilter.next_sequence();
  auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  family->nfgen_family = static_cast<std::uint8_t>(from.family);
  nlattr* whole = mnl_attr_nest_start(header, CTA_TUPLE_ORIG);
  nlattr* addresses = mnl_attr_nest_start(header, CTA_TUPLE_IP);
  mnl_attr_put(header, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, from.size(), from.bytes.data());
  mnl_attr_put(header, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, to.size(), to.bytes.data());
  mnl_attr_nest_end(header, addresses);
  nlattr* protocol = mnl_attr_nest_start(header, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(header, CTA_PROTO_NUM, IPPROTO_TCP);
  mnl_attr_put_u16(header, CTA_PROTO_SRC_PORT, htons(tuple.remote.port));
  mnl_attr_put_u16(header, CTA_PROTO_DST_PORT, htons(tuple.local.port));
  mnl_attr_nest_end(header, protocol);
  mnl_attr_nest_end(header, whole);
  auto done = netfilter.transact(header, header->nlmsg_len, 1, "connection tracking");
  if (!done && done.error().code == ENOENT) return {};
  if (!done && done.error().code == EINVAL) return fail(EOPNOTSUPP, "connection tracking: this kernel has no ctnetlink");
  return done;
}

}  // namespace sockmi::steer
