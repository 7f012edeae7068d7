#include "steer/reused_tuples.h"

#include <netinet/in.h>

#include <linux/netfilter.h>

namespace sockmi::steer {
namespace {

// `size`: that of an address. The source address is at offset `source` of the IP header,
// and the destination address follows it.
Rule begun(const char* chain, unsigned source, unsigned size, const SetName& map) {
  const unsigned units = size / 4, home = units + 1, data = 2 * home;
  Rule rule(NFPROTO_NETDEV, "sockmi", chain);
  rule.payload(Header::Network, source, size, 0).payload(Header::Transport, 0, 2, units);
  rule.payload(Header::Network, source + size, size, home)
      .payload(Header::Transport, 2, 2, home + units);
  // The kernel requires data of the map's size; their value does not matter.
  rule.payload(Header::Network, source, size, data).remove(map, 0, data);
  return rule;
}

}  // namespace

std::vector<Rule> begun_rules(const std::vector<Link>& links) {
  std::vector<Rule> out;
  for (const Link& link : links) {
    out.push_back(begun("begun4", 12, 4, link.four.ended));
    out.push_back(begun("begun6", 8, 16, link.six.ended));
  }
  out.push_back(begun("begun4", 12, 4, kSets4.ended_routed));
  out.push_back(begun("begun6", 8, 16, kSets6.ended_routed));
  return out;
}

}  // namespace sockmi::steer
