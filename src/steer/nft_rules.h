// Rules that nft(8)'s grammar can not say, built of the kernel's own expressions. nft shows them all the same.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

#include "base/secret.h"
#include "steer/nft_sets.h"

namespace sockmi::steer {

enum class Header { kNetwork, kTransport };

// Registers are counted in units of four bytes, 0 to 15. Each step reads what earlier ones of the same rule have written; the first that does
// not match ends the rule.
class Rule {
 public:
  Rule(std::uint32_t family, const char* table, const std::string& chain);
  Rule& meta_is(std::uint32_t key, ByteView value);
  Rule& payload(Header base, unsigned offset, unsigned size, unsigned reg);
  Rule& payload_is(Header base, unsigned offset, ByteView value);
  Rule& immediate(std::uint32_t value, unsigned reg);
  Rule& lookup(const SetName& set, unsigned key_reg);  // is it in there?
  Rule& lookup(const SetName& map, unsigned key_reg, unsigned data_reg);
  // Writes `reg` over an address of the IP header, and mends the checksums that cover it.
  Rule& set_address(std::uint32_t nfproto, unsigned offset, unsigned reg, bool transport_checksum);
  Rule& forward(std::uint32_t nfproto, unsigned device_reg, unsigned address_reg);  // to this neighbour; the packet is gone
  Rule& remove(const SetName& map, unsigned key_reg, unsigned data_reg);  // from this map, if it is there; any data
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

// They become all that their chains have, in one transaction.
Result<> replace_rules(net::Netlink& netlink, const std::vector<Rule>& rules);

}  // namespace sockmi::steer
