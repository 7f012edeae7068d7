// Connection tracking entries are needed because of NAT and firewalls.
//
// NAT rules are evaluated for the first packet of a connection. For a foreign connection,
// that is the first packet that its socket sends here. A host that masquerades would give
// this packet another source address, and the peer would answer with RST. For an existing
// established entry no NAT rule is evaluated. A firewall that accepts established
// connections needs an entry as well.
//
// The entry is liberal about sequence numbers, because it has not seen the earlier ones.
//
// Alternatives considered: excluding foreign connections from tracking (notrack). That
// solves the NAT problem, but a firewall that accepts only established connections would
// drop their packets.
#include "net/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <optional>

#include "net/netlink_message.h"
#include "net/thread_netlink.h"

namespace sockmi::net {
namespace {

// TCP_CONNTRACK_ESTABLISHED, TCP_CONNTRACK_SYN_SENT.
constexpr std::uint8_t kEstablished = 3, kSynSent = 1;
// CTA_SYNPROXY, which is missing in the headers of Debian 12.
constexpr int kSynProxy = 24;

struct ConntrackMessage : NetlinkRequest<nfgenmsg> {
  ConntrackMessage(Netlink& netfilter, int type, int flags, int family)
      : NetlinkRequest(netfilter, NFNL_SUBSYS_CTNETLINK << 8 | type, flags) {
    (*this)->nfgen_family = static_cast<std::uint8_t>(family);
  }
  void add_tuple(std::uint16_t name, const SocketAddress& from, const SocketAddress& to) {
    const bool v4 = from.ip.family == AF_INET;
    nlattr* whole = mnl_attr_nest_start(header(), name);
    nlattr* addresses = mnl_attr_nest_start(header(), CTA_TUPLE_IP);
    add(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, from.ip);
    add(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, to.ip);
    mnl_attr_nest_end(header(), addresses);
    nlattr* protocol = mnl_attr_nest_start(header(), CTA_TUPLE_PROTO);
    mnl_attr_put_u8(header(), CTA_PROTO_NUM, IPPROTO_TCP);
    mnl_attr_put_u16(header(), CTA_PROTO_SRC_PORT, htons(from.port));
    mnl_attr_put_u16(header(), CTA_PROTO_DST_PORT, htons(to.port));
    mnl_attr_nest_end(header(), protocol);
    mnl_attr_nest_end(header(), whole);
  }
  void add_state(std::uint8_t state) {
    const nf_ct_tcp_flags liberal{.flags = IP_CT_TCP_FLAG_BE_LIBERAL,
                                  .mask = IP_CT_TCP_FLAG_BE_LIBERAL};
    nlattr* info = mnl_attr_nest_start(header(), CTA_PROTOINFO);
    nlattr* tcp = mnl_attr_nest_start(header(), CTA_PROTOINFO_TCP);
    mnl_attr_put_u8(header(), CTA_PROTOINFO_TCP_STATE, state);
    mnl_attr_put(header(), CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof liberal, &liberal);
    mnl_attr_put(header(), CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof liberal, &liberal);
    mnl_attr_nest_end(header(), tcp);
    mnl_attr_nest_end(header(), info);
  }
};

// Returns the timeout of the entry, in seconds: a foreign connection may be idle as long
// as this host allows for any connection.
std::uint32_t idle_timeout() {
  constexpr std::uint32_t kDefault = 432'000;
  constexpr std::chrono::seconds kFreshTime{1};
  thread_local std::chrono::steady_clock::time_point read_at;
  thread_local std::uint32_t seconds = 0;
  if (const auto now = std::chrono::steady_clock::now(); read_at + kFreshTime < now) {
    std::ifstream file("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established");
    if (!(file >> seconds) || seconds == 0) seconds = kDefault;
    read_at = now;
  }
  return seconds;
}

// Whether the error is the answer of a kernel without ctnetlink.
bool is_missing(const Error& error) {
  return error.code == EINVAL || error.code == EOPNOTSUPP;
}

Result<> forget(Netlink& netfilter, const SocketAddress& from, const SocketAddress& to) {
  ConntrackMessage m(netfilter, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, from.ip.family);
  m.add_tuple(CTA_TUPLE_ORIG, from, to);
  auto done = m.send("cannot change the connection tracking");
  return !done && done.error().code == ENOENT ? Result<>() : done;
}

Result<> add(Netlink& netfilter, const SocketAddress& from, const SocketAddress& to,
             std::uint8_t state) {
  ConntrackMessage m(netfilter, IPCTNL_MSG_CT_NEW, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                     from.ip.family);
  m.add_tuple(CTA_TUPLE_ORIG, from, to);
  m.add_tuple(CTA_TUPLE_REPLY, to, from);
  m.add(CTA_STATUS, htonl(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
  m.add(CTA_TIMEOUT, htonl(idle_timeout()));
  m.add_state(state);
  return m.send("cannot change the connection tracking");
}

// The content of an entry.
struct Entry {
  FourTuple original, reply;  // local: the source of the packets
  bool renumbered = false;
};

int read_address(const nlattr* attribute, void* data) {
  auto& tuple = *static_cast<FourTuple*>(data);
  const std::uint16_t type = mnl_attr_get_type(attribute);
  const auto ip = IpAddress::from_bytes(bytes_of(attribute));
  if (ip && (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC)) tuple.local.ip = *ip;
  if (ip && (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST)) tuple.remote.ip = *ip;
  return MNL_CB_OK;
}

int read_protocol(const nlattr* attribute, void* data) {
  auto& tuple = *static_cast<FourTuple*>(data);
  if (mnl_attr_get_type(attribute) == CTA_PROTO_SRC_PORT)
    tuple.local.port = ntohs(mnl_attr_get_u16(attribute));
  if (mnl_attr_get_type(attribute) == CTA_PROTO_DST_PORT)
    tuple.remote.port = ntohs(mnl_attr_get_u16(attribute));
  return MNL_CB_OK;
}

int read_tuple(const nlattr* attribute, void* tuple) {
  if (mnl_attr_get_type(attribute) == CTA_TUPLE_IP)
    return mnl_attr_parse_nested(attribute, read_address, tuple);
  if (mnl_attr_get_type(attribute) == CTA_TUPLE_PROTO)
    return mnl_attr_parse_nested(attribute, read_protocol, tuple);
  return MNL_CB_OK;
}

int read_offset(const nlattr* attribute, void* renumbered) {
  const bool offset = mnl_attr_get_type(attribute) == CTA_SEQADJ_OFFSET_BEFORE ||
                      mnl_attr_get_type(attribute) == CTA_SEQADJ_OFFSET_AFTER;
  if (offset && mnl_attr_get_payload_len(attribute) == 4)
    *static_cast<bool*>(renumbered) |= mnl_attr_get_u32(attribute) != 0;
  return MNL_CB_OK;
}

// The fields are zero in an entry that was created by netlink.
int read_proxy(const nlattr* attribute, void* renumbered) {
  if (mnl_attr_get_payload_len(attribute) == 4)
    *static_cast<bool*>(renumbered) |= mnl_attr_get_u32(attribute) != 0;
  return MNL_CB_OK;
}

int read_entry(const nlattr* attribute, void* data) {
  Entry& entry = *static_cast<Entry*>(data);
  switch (mnl_attr_get_type(attribute)) {
    case CTA_TUPLE_ORIG: return mnl_attr_parse_nested(attribute, read_tuple, &entry.original);
    case CTA_TUPLE_REPLY: return mnl_attr_parse_nested(attribute, read_tuple, &entry.reply);
    case CTA_SEQ_ADJ_ORIG:
    case CTA_SEQ_ADJ_REPLY: return mnl_attr_parse_nested(attribute, read_offset, &entry.renumbered);
    case kSynProxy: return mnl_attr_parse_nested(attribute, read_proxy, &entry.renumbered);
  }
  return MNL_CB_OK;
}

Result<std::optional<Entry>> find(Netlink& netfilter, const SocketAddress& from,
                                  const SocketAddress& to) {
  // NLM_F_ACK: the acknowledgement marks the end of the answer.
  ConntrackMessage m(netfilter, IPCTNL_MSG_CT_GET, NLM_F_ACK, from.ip.family);
  m.add_tuple(CTA_TUPLE_ORIG, from, to);
  std::optional<Entry> found;
  auto asked = m.ask("cannot read the connection tracking", [&](const nlmsghdr* message) {
    mnl_attr_parse(message, sizeof(nfgenmsg), read_entry, &found.emplace());
  });
  if (!asked && asked.error().code != ENOENT && !is_missing(asked.error()))
    return pass(std::move(asked));
  return found;
}

}  // namespace

bool tracks_connections() {
  // The kernel may load the module later, but hardly ever unloads it; then it refuses the
  // questions.
  static std::atomic<bool> found{false};
  if (!found) found = ::access("/proc/sys/net/netfilter/nf_conntrack_count", F_OK) == 0;
  return found;
}

Result<> track(Netlink& netfilter, const FourTuple& tuple, bool established) {
  if (!tracks_connections()) return {};
  const FourTuple plain = tuple.unmapped();
  // The direction does not matter for an established connection. Otherwise the SYN is
  // ours.
  const auto& [from, to] =
      established ? std::pair(plain.remote, plain.local) : std::pair(plain.local, plain.remote);
  const auto try_to_add = [&] {
    return add(netfilter, from, to, established ? kEstablished : kSynSent);
  };
  auto done = try_to_add();
  // Repeats because a packet of the peer may create an entry between the two steps.
  for (int attempt = 0; attempt < 3 && !done && done.error().code == EEXIST; ++attempt) {
    done = forget(netfilter, from, to);
    if (done) done = try_to_add();
  }
  if (!done && is_missing(done.error()))
    return fail(EOPNOTSUPP, "cannot use connection tracking: this kernel has no ctnetlink");
  return done;
}

Result<> untrack(Netlink& netfilter, const FourTuple& tuple, std::chrono::milliseconds linger) {
  if (!tracks_connections()) return {};
  const FourTuple plain = tuple.unmapped();
  const auto seconds =
      std::max(std::chrono::seconds(1), std::chrono::ceil<std::chrono::seconds>(linger));
  ConntrackMessage m(netfilter, IPCTNL_MSG_CT_NEW, NLM_F_ACK, plain.local.ip.family);
  m.add_tuple(CTA_TUPLE_ORIG, plain.remote, plain.local);
  m.add(CTA_TIMEOUT, htonl(static_cast<std::uint32_t>(seconds.count())));
  auto done = m.send("cannot change the connection tracking");
  return !done && (done.error().code == ENOENT || is_missing(done.error())) ? Result<>() : done;
}

Result<> check_translation(const FourTuple& tuple) {
  if (!tracks_connections()) return {};
  TRY_LET(netfilter, thread_netlink(NETLINK_NETFILTER));
  const FourTuple plain = tuple.unmapped();
  // The lookup finds the entry in either direction; asks with the direction of our
  // socket's packets.
  TRY_LET(entry, find(*netfilter, plain.local, plain.remote));
  if (!entry) return {};
  const FourTuple& original = entry->original;
  if (entry->reply.local != original.remote || entry->reply.remote != original.local) {
    return fail(ENOTSUP,
                "cannot move a connection whose addresses this host translates ({} to {}, answered "
                "by {} to {})",
                to_string(original.local), to_string(original.remote),
                to_string(entry->reply.local), to_string(entry->reply.remote));
  }
  if (entry->renumbered) {
    return fail(ENOTSUP,
                "cannot move a connection whose sequence numbers this host changes (SYN proxy, or "
                "a helper of its firewall)");
  }
  return {};
}

}  // namespace sockmi::net
