// Changes the tables of an earlier daemon without interrupting the connections in their
// maps.
//
// Tables are not deleted for that purpose. Between the deletion and the filling of new
// tables, a packet of a moved connection would reach our own network stack and be
// answered with RST. Instead all chains, which are few, are replaced in one transaction.
// Maps and sets keep their elements (nft skips a set that already exists). If nothing
// would change, nothing is touched: the name of an empty chain identifies the text that
// the tables were made from. A map with another type than ours makes the transaction
// fail, and with it the start of the daemon. The operator decides what happens then
// ('sockmictl flush').
#include "steer/nft_upgrade.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <functional>
#include <memory>
#include <string_view>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>

namespace sockmi::steer {
namespace {

constexpr const char* kMainTable = "sockmi";

using RulePointer = std::unique_ptr<nftnl_rule, decltype(&nftnl_rule_free)>;
using ChainPointer = std::unique_ptr<nftnl_chain, decltype(&nftnl_chain_free)>;

const char* family_name(std::uint32_t family) {
  return family == NFPROTO_NETDEV ? "netdev" : family == NFPROTO_INET ? "inet" : nullptr;
}

Result<> for_each_chain(
    net::Netlink& netfilter,
    const std::function<void(const char* family, std::string_view name)>& each) {
  char buffer[256];
  nlmsghdr* all = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, NLM_F_DUMP,
                                        netfilter.next_sequence());
  return netfilter.dump(all, "cannot read chains", [&](const nlmsghdr* message) {
    const ChainPointer chain(nftnl_chain_alloc(), nftnl_chain_free);
    if (!chain || nftnl_chain_nlmsg_parse(message, chain.get()) < 0) return;
    const std::string_view table = nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TABLE),
                           name = nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_NAME);
    const char* family = family_name(nftnl_chain_get_u32(chain.get(), NFTNL_CHAIN_FAMILY));
    if (table == kMainTable && family) each(family, name);
  });
}

}  // namespace

Result<std::string> change_to(net::Netlink& netfilter, const std::string& wanted, bool force) {
  const std::string layout = fmt::format("layout_{:016x}", std::hash<std::string>()(wanted));
  // In this order, because a chain that is the target of a jump cannot be deleted.
  std::string flushes, deletions;
  bool same = false;
  TRY(for_each_chain(netfilter, [&](const char* family, std::string_view name) {
    same |= name == layout;
    flushes += fmt::format("flush chain {} sockmi {}\n", family, name);
    deletions += fmt::format("delete chain {} sockmi {}\n", family, name);
  }));
  if (same && !force) return std::string();
  return flushes + deletions + wanted + fmt::format("add chain netdev sockmi {}\n", layout);
}

Result<std::string> fingerprint(net::Netlink& netfilter) {
  std::string out;
  for (const std::uint16_t family : {NFPROTO_NETDEV, NFPROTO_INET}) {
    // Asks for this table only: a host may have thousands of other rules.
    const RulePointer ask(nftnl_rule_alloc(), nftnl_rule_free);
    nftnl_rule_set_str(ask.get(), NFTNL_RULE_TABLE, kMainTable);
    char buffer[4096];
    nlmsghdr* all = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETRULE, family, NLM_F_DUMP,
                                          netfilter.next_sequence());
    nftnl_rule_nlmsg_build_payload(all, ask.get());
    TRY(netfilter.dump(all, "cannot read rules", [&](const nlmsghdr* message) {
      const RulePointer rule(nftnl_rule_alloc(), nftnl_rule_free);
      if (!rule || nftnl_rule_nlmsg_parse(message, rule.get()) < 0) return;
      if (std::string_view(nftnl_rule_get_str(rule.get(), NFTNL_RULE_TABLE)) == kMainTable) {
        out += fmt::format("{} {} {}\n", family, nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN),
                           nftnl_rule_get_u64(rule.get(), NFTNL_RULE_HANDLE));
      }
    }));
  }
  return out;
}

std::string mark_of_service(ino_t daemon) {
  return fmt::format("served_from_{}", daemon);
}

Result<bool> has_chain(net::Netlink& netfilter, const std::string& wanted) {
  bool found = false;
  TRY(for_each_chain(netfilter,
                     [&](const char*, std::string_view name) { found |= name == wanted; }));
  return found;
}

}  // namespace sockmi::steer
