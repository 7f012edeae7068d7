// Builds rules that nft(8)'s grammar cannot express, from the kernel's own expressions.
// nft lists them nevertheless.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

#include "base/secret.h"
#include "steer/nft_sets.h"

namespace sockmi::steer {

enum class Header { Network, Transport };

// One rule under construction. Registers are numbered in units of four bytes, 0 to 15.
// Each step reads what earlier steps of the same rule have written. The first step that
// does not match ends the rule.
class Rule {
 public:
  Rule(std::uint32_t family, const char* table, const std::string& chain);
  Rule& meta_is(std::uint32_t key, ByteView value);
  Rule& payload(Header base, unsigned offset, unsigned size, unsigned reg);
  Rule& payload_is(Header base, unsigned offset, ByteView value);
  Rule& immediate(std::uint32_t value, unsigned reg);
  Rule& lookup(const SetName& set, unsigned key_reg);  // matches if the key is in the set
  Rule& lookup(const SetName& map, unsigned key_reg, unsigned data_reg);
  // Writes the content of `reg` to an address of the IP header, and adjusts the checksums
  // that cover this address.
  Rule& set_address(std::uint32_t nfproto, unsigned offset, unsigned reg, bool transport_checksum);
  // Sends the packet to this neighbor; it does not continue in the ruleset.
  Rule& forward(std::uint32_t nfproto, unsigned device_reg, unsigned address_reg);
  // Removes the key from this map if it is there, whatever its data.
  Rule& remove(const SetName& map, unsigned key_reg, unsigned data_reg);
  Rule& set_mark(std::uint32_t mark);
  Rule& accept();
  Rule& drop();
  Rule& go_to(const char* chain);
  const nftnl_rule* get() const { return rule_.get(); }

 private:
  template <class... Settings>
  Rule& add(const char* name, Settings... settings);
  std::unique_ptr<nftnl_rule, decltype(&nftnl_rule_free)> rule_;
};

// Replaces all rules of the chains that `rules` names, in one transaction.
Result<> replace_rules(net::Netlink& netlink, const std::vector<Rule>& rules);

}  // namespace sockmi::steer
