// A table that stays when somebody flushes the ruleset.
//
// Between "nft flush ruleset" and the moment at which we have restored our tables, some
// milliseconds pass. A packet of a moved connection that arrives in this time would be
// answered with RST by home's own network stack. A table that is owned by a netlink
// socket cannot be deleted or flushed by anybody else. It is kept small, because nobody
// else can repair it either. It drops the RSTs that home itself sends for moved
// connections, and everything that a frozen socket sends. Packets of other hosts'
// connections do not pass through its output chain.
//
// Alternatives considered: owning all of our tables. nft(8)'s library creates them
// through a socket of its own, and an administrator must be able to remove them.
#include "steer/fallback_table.h"

#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>

#include "steer/nft_rules.h"
#include "steer/packet_marks.h"

namespace sockmi::steer {
namespace {

constexpr const char *kFallbackTable = "sockmi_guard", *kOutput = "output", *kResets = "resets";
constexpr std::uint32_t kOwned = 2;  // NFT_TABLE_F_OWNER
// The numbers by which nft(8) names the types of sets
constexpr std::uint32_t kPort = 13, kAddress4 = 7, kAddress6 = 8, kTypeBits = 6;

template <class Object>
using Pointer = std::unique_ptr<Object, void (*)(const Object*)>;

class Transaction {
 public:
  explicit Transaction(net::Netlink& netlink) : netlink_(netlink) {
    nftnl_batch_begin(at(), netlink_.next_sequence());
    close();
  }
  template <class Build>
  void add(std::uint16_t type, std::uint16_t flags, Build build) {
    build(nftnl_nlmsg_build_hdr(at(), type, NFPROTO_INET,
                                static_cast<std::uint16_t>(NLM_F_ACK | flags),
                                netlink_.next_sequence()));
    close();
    ++messages_;
  }
  Result<> send() {
    nftnl_batch_end(at(), netlink_.next_sequence());
    close();
    return netlink_.transact(buffer_, used_, messages_, "cannot make the table sockmi_guard");
  }

 private:
  char* at() { return buffer_ + used_; }
  void close() { used_ += MNL_ALIGN(reinterpret_cast<const nlmsghdr*>(at())->nlmsg_len); }
  net::Netlink& netlink_;
  alignas(nlmsghdr) char buffer_[32768] = {};
  std::size_t used_ = 0;
  unsigned messages_ = 0;
};

void add_table(Transaction& all, std::uint16_t type) {
  const Pointer<nftnl_table> table(nftnl_table_alloc(), nftnl_table_free);
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, kFallbackTable);
  if (type == NFT_MSG_NEWTABLE) nftnl_table_set_u32(table.get(), NFTNL_TABLE_FLAGS, kOwned);
  all.add(type, type == NFT_MSG_NEWTABLE ? NLM_F_CREATE | NLM_F_EXCL : 0,
          [&](nlmsghdr* header) { nftnl_table_nlmsg_build_payload(header, table.get()); });
}

void add_set(Transaction& all, const SetName& name, bool v4, bool connections, std::uint32_t id) {
  const std::uint32_t port = (v4 ? kAddress4 : kAddress6) << kTypeBits | kPort;
  const std::uint32_t size = v4 ? 8 : 20;
  const Pointer<nftnl_set> set(nftnl_set_alloc(), nftnl_set_free);
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, kFallbackTable);
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.set.c_str());
  nftnl_set_set_u32(set.get(), NFTNL_SET_FAMILY, NFPROTO_INET);
  nftnl_set_set_u32(set.get(), NFTNL_SET_ID, id);
  nftnl_set_set_u32(set.get(), NFTNL_SET_KEY_TYPE,
                    connections ? port << 2 * kTypeBits | port : port);
  nftnl_set_set_u32(set.get(), NFTNL_SET_KEY_LEN, connections ? 2 * size : size);
  all.add(NFT_MSG_NEWSET, NLM_F_CREATE,
          [&](nlmsghdr* header) { nftnl_set_nlmsg_build_payload(header, set.get()); });
}

void add_chain(Transaction& all, const char* name, bool hooked) {
  const Pointer<nftnl_chain> chain(nftnl_chain_alloc(), nftnl_chain_free);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, kFallbackTable);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, name);
  if (hooked) {
    nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TYPE, "filter");
    nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_HOOKNUM, NF_INET_LOCAL_OUT);
    nftnl_chain_set_s32(chain.get(), NFTNL_CHAIN_PRIO, -300);
    nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_POLICY, NF_ACCEPT);
  }
  all.add(NFT_MSG_NEWCHAIN, NLM_F_CREATE,
          [&](nlmsghdr* header) { nftnl_chain_nlmsg_build_payload(header, chain.get()); });
}

Rule of_family(bool v4, const char* chain) {
  const std::uint8_t family[] = {std::uint8_t(v4 ? NFPROTO_IPV4 : NFPROTO_IPV6)};
  Rule rule(NFPROTO_INET, kFallbackTable, chain);
  rule.meta_is(NFT_META_NFPROTO, family);
  return rule;
}

// Matches a packet sent by this host whose connection is in `set`. The set has the
// connection in the order of the peer's packets.
Rule of_connection(bool v4, const SetName& set) {
  const unsigned size = v4 ? 4 : 16, source = v4 ? 12 : 8, units = size / 4;
  Rule rule = of_family(v4, kResets);
  rule.payload(Header::Network, source + size, size, 0).payload(Header::Transport, 2, 2, units);
  rule.payload(Header::Network, source, size, units + 1)
      .payload(Header::Transport, 0, 2, 2 * units + 1);
  rule.lookup(set, 0);
  return rule;
}

Rule of_port(bool v4, const SetName& set) {
  const unsigned size = v4 ? 4 : 16;
  Rule rule = of_family(v4, kResets);
  rule.payload(Header::Network, v4 ? 12 : 8, size, 0)
      .payload(Header::Transport, 0, 2, size / 4)
      .lookup(set, 0);
  return rule;
}

std::vector<Rule> rules() {
  std::vector<Rule> out;
  const ByteView freeze(reinterpret_cast<const std::uint8_t*>(&kFreezeMark), sizeof kFreezeMark);
  out.push_back(
      std::move(Rule(NFPROTO_INET, kFallbackTable, kOutput).meta_is(NFT_META_MARK, freeze).drop()));
  const std::uint8_t tcp[] = {IPPROTO_TCP};
  // RST alone, or with ACK if the segment that it answers has no ACK.
  for (const std::uint8_t flags : {0x04, 0x14}) {
    const std::uint8_t wanted[] = {flags};
    Rule rule(NFPROTO_INET, kFallbackTable, kOutput);
    rule.meta_is(NFT_META_L4PROTO, tcp).payload_is(Header::Transport, 13, wanted).go_to(kResets);
    out.push_back(std::move(rule));
  }
  for (const bool v4 : {true, false}) {
    const FallbackSets& sets = v4 ? kFallbackSets4 : kFallbackSets6;
    out.push_back(std::move(of_connection(v4, sets.moved).drop()));
    out.push_back(std::move(of_connection(v4, sets.exempt).accept()));
    out.push_back(std::move(of_port(v4, sets.ports).drop()));
  }
  return out;
}

Result<> make(net::Netlink& netlink, bool replace) {
  Transaction all(netlink);
  if (replace) add_table(all, NFT_MSG_DELTABLE);
  add_table(all, NFT_MSG_NEWTABLE);
  std::uint32_t id = 0;
  for (const bool v4 : {true, false}) {
    const FallbackSets& sets = v4 ? kFallbackSets4 : kFallbackSets6;
    add_set(all, sets.moved, v4, true, ++id);
    add_set(all, sets.ports, v4, false, ++id);
    add_set(all, sets.exempt, v4, true, ++id);
  }
  add_chain(all, kResets, false);
  add_chain(all, kOutput, true);
  for (const Rule& rule : rules()) {
    all.add(NFT_MSG_NEWRULE, NLM_F_APPEND | NLM_F_CREATE, [&](nlmsghdr* header) {
      nftnl_rule_nlmsg_build_payload(header, const_cast<nftnl_rule*>(rule.get()));
    });
  }
  return all.send();
}

FallbackSets fallback_sets(char v) {
  const auto name = [v](const char* set) {
    return SetName{NFPROTO_INET, kFallbackTable, std::string(set) + v};
  };
  return {name("moved"), name("ports"), name("exempt")};
}

}  // namespace

const FallbackSets kFallbackSets4 = fallback_sets('4'), kFallbackSets6 = fallback_sets('6');

Result<> create_fallback_table(net::Netlink& netlink) {
  auto made = make(netlink, false);
  return !made && made.error().code == EEXIST ? make(netlink, true) : made;
}

}  // namespace sockmi::steer
