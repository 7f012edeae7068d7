#include "steer/nft_rules.h"

#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <map>
#include <utility>

#include <libmnl/libmnl.h>
#include <libnftnl/common.h>

namespace sockmi::steer {
namespace {

std::uint32_t reg32(unsigned reg) {
  return NFT_REG32_00 + reg;
}

constexpr unsigned kScratch = 15;

}  // namespace

Rule::Rule(std::uint32_t family, const char* table, const std::string& chain)
    : rule_(nftnl_rule_alloc(), nftnl_rule_free) {
  nftnl_rule_set_u32(rule_.get(), NFTNL_RULE_FAMILY, family);
  nftnl_rule_set_str(rule_.get(), NFTNL_RULE_TABLE, table);
  nftnl_rule_set_str(rule_.get(), NFTNL_RULE_CHAIN, chain.c_str());
}

// Each setting is an attribute and its value: a number, a name, or bytes.
template <class... Settings>
Rule& Rule::add(const char* name, Settings... settings) {
  nftnl_expr* e = nftnl_expr_alloc(name);
  const auto set = [e](const auto& setting) {
    const auto& [attribute, value] = setting;
    using Value = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, const char*>) {
      nftnl_expr_set_str(e, static_cast<std::uint16_t>(attribute), value);
    } else if constexpr (std::is_same_v<Value, ByteView>) {
      nftnl_expr_set(e, static_cast<std::uint16_t>(attribute), value.data(),
                     static_cast<std::uint32_t>(value.size()));
    } else {
      nftnl_expr_set_u32(e, static_cast<std::uint16_t>(attribute),
                         static_cast<std::uint32_t>(value));
    }
  };
  (set(settings), ...);
  nftnl_rule_add_expr(rule_.get(), e);
  return *this;
}

Rule& Rule::meta_is(std::uint32_t key, ByteView value) {
  add("meta", std::pair(NFTNL_EXPR_META_KEY, key),
      std::pair(NFTNL_EXPR_META_DREG, reg32(kScratch)));
  return add("cmp", std::pair(NFTNL_EXPR_CMP_SREG, reg32(kScratch)),
             std::pair(NFTNL_EXPR_CMP_OP, NFT_CMP_EQ), std::pair(NFTNL_EXPR_CMP_DATA, value));
}

Rule& Rule::payload(Header base, unsigned offset, unsigned size, unsigned reg) {
  return add(
      "payload",
      std::pair(NFTNL_EXPR_PAYLOAD_BASE, base == Header::Network ? NFT_PAYLOAD_NETWORK_HEADER
                                                                 : NFT_PAYLOAD_TRANSPORT_HEADER),
      std::pair(NFTNL_EXPR_PAYLOAD_OFFSET, offset), std::pair(NFTNL_EXPR_PAYLOAD_LEN, size),
      std::pair(NFTNL_EXPR_PAYLOAD_DREG, reg32(reg)));
}

Rule& Rule::payload_is(Header base, unsigned offset, ByteView value) {
  payload(base, offset, static_cast<unsigned>(value.size()), kScratch);
  return add("cmp", std::pair(NFTNL_EXPR_CMP_SREG, reg32(kScratch)),
             std::pair(NFTNL_EXPR_CMP_OP, NFT_CMP_EQ), std::pair(NFTNL_EXPR_CMP_DATA, value));
}

Rule& Rule::immediate(std::uint32_t value, unsigned reg) {
  const ByteView bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof value);
  return add("immediate", std::pair(NFTNL_EXPR_IMM_DREG, reg32(reg)),
             std::pair(NFTNL_EXPR_IMM_DATA, bytes));
}

Rule& Rule::lookup(const SetName& set, unsigned key_reg) {
  return add("lookup", std::pair(NFTNL_EXPR_LOOKUP_SET, set.set.c_str()),
             std::pair(NFTNL_EXPR_LOOKUP_SREG, reg32(key_reg)));
}

Rule& Rule::lookup(const SetName& map, unsigned key_reg, unsigned data_reg) {
  return add("lookup", std::pair(NFTNL_EXPR_LOOKUP_SET, map.set.c_str()),
             std::pair(NFTNL_EXPR_LOOKUP_SREG, reg32(key_reg)),
             std::pair(NFTNL_EXPR_LOOKUP_DREG, reg32(data_reg)));
}

Rule& Rule::set_address(std::uint32_t nfproto, unsigned offset, unsigned reg,
                        bool transport_checksum) {
  const bool v4 = nfproto == NFPROTO_IPV4;
  return add(
      "payload", std::pair(NFTNL_EXPR_PAYLOAD_SREG, reg32(reg)),
      std::pair(NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER),
      std::pair(NFTNL_EXPR_PAYLOAD_OFFSET, offset), std::pair(NFTNL_EXPR_PAYLOAD_LEN, v4 ? 4 : 16),
      std::pair(NFTNL_EXPR_PAYLOAD_CSUM_TYPE, v4 ? NFT_PAYLOAD_CSUM_INET : NFT_PAYLOAD_CSUM_NONE),
      std::pair(NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, v4 ? 10 : 0),
      std::pair(NFTNL_EXPR_PAYLOAD_FLAGS, transport_checksum ? NFT_PAYLOAD_L4CSUM_PSEUDOHDR : 0));
}

Rule& Rule::forward(std::uint32_t nfproto, unsigned device_reg, unsigned address_reg) {
  return add("fwd", std::pair(NFTNL_EXPR_FWD_SREG_DEV, reg32(device_reg)),
             std::pair(NFTNL_EXPR_FWD_SREG_ADDR, reg32(address_reg)),
             std::pair(NFTNL_EXPR_FWD_NFPROTO, nfproto));
}

Rule& Rule::remove(const SetName& map, unsigned key_reg, unsigned data_reg) {
  return add("dynset", std::pair(NFTNL_EXPR_DYNSET_SET_NAME, map.set.c_str()),
             std::pair(NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_DELETE),
             std::pair(NFTNL_EXPR_DYNSET_SREG_KEY, reg32(key_reg)),
             std::pair(NFTNL_EXPR_DYNSET_SREG_DATA, reg32(data_reg)));
}

Rule& Rule::set_mark(std::uint32_t mark) {
  immediate(mark, kScratch);
  return add("meta", std::pair(NFTNL_EXPR_META_KEY, NFT_META_MARK),
             std::pair(NFTNL_EXPR_META_SREG, reg32(kScratch)));
}

Rule& Rule::accept() {
  return add("immediate", std::pair(NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT),
             std::pair(NFTNL_EXPR_IMM_VERDICT, NF_ACCEPT));
}
Rule& Rule::drop() {
  return add("immediate", std::pair(NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT),
             std::pair(NFTNL_EXPR_IMM_VERDICT, NF_DROP));
}

Rule& Rule::go_to(const char* chain) {
  return add("immediate", std::pair(NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT),
             std::pair(NFTNL_EXPR_IMM_VERDICT, NFT_GOTO), std::pair(NFTNL_EXPR_IMM_CHAIN, chain));
}

Result<> replace_rules(net::Netlink& netlink, const std::vector<Rule>& rules) {
  const auto family_of = [](const nftnl_rule* rule) {
    return static_cast<std::uint16_t>(nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY));
  };
  // For each chain, a rule without expressions: a deletion that specifies no rule deletes
  // all rules of the chain.
  std::map<std::pair<std::uint16_t, std::string>, Rule> chains;
  for (const Rule& rule : rules) {
    const char* chain = nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN);
    chains.try_emplace({family_of(rule.get()), chain}, family_of(rule.get()),
                       nftnl_rule_get_str(rule.get(), NFTNL_RULE_TABLE), chain);
  }
  std::vector<char> buffer((rules.size() + chains.size() + 2) * 4096);
  std::size_t used = 0;
  const auto at = [&] {
    return buffer.data() + used;
  };
  const auto close = [&] {
    used += MNL_ALIGN(reinterpret_cast<const nlmsghdr*>(at())->nlmsg_len);
  };
  nftnl_batch_begin(at(), netlink.next_sequence());
  close();
  const auto add = [&](std::uint16_t type, std::uint16_t flags, const Rule& rule) {
    auto* header = nftnl_nlmsg_build_hdr(at(), type, family_of(rule.get()), NLM_F_ACK | flags,
                                         netlink.next_sequence());
    nftnl_rule_nlmsg_build_payload(header, const_cast<nftnl_rule*>(rule.get()));
    close();
  };
  for (const auto& [name, chain] : chains)
    add(NFT_MSG_DELRULE, 0, chain);
  for (const Rule& rule : rules)
    add(NFT_MSG_NEWRULE, NLM_F_APPEND | NLM_F_CREATE, rule);
  nftnl_batch_end(at(), netlink.next_sequence());
  close();
  return netlink.transact(buffer.data(), used, static_cast<unsigned>(chains.size() + rules.size()),
                          "rules of table sockmi");
}

}  // namespace sockmi::steer
