#include "steer/set_names.h"

#include <net/if.h>

#include <utility>

#include <linux/netfilter.h>

namespace sockmi::steer {
namespace {

FamilySets family_sets(char v) {
  const auto at_home = [v](const char* name) {
    return SetName{NFPROTO_NETDEV, "sockmi", std::string(name) + v};
  };
  const auto on_importer = [v](const char* name) {
    return SetName{NFPROTO_INET, "sockmi", std::string(name) + v};
  };
  return {at_home("returning"),
          at_home("routed"),
          SetName{NFPROTO_NETDEV, "sockmi", std::string("ended_routed") + v, true},
          at_home("ports_routed"),
          at_home("via"),
          at_home("out"),
          at_home("exempt"),
          on_importer("foreign"),
          on_importer("foreign_ports"),
          on_importer("rewritten"),
          on_importer("rewritten_ports"),
          on_importer("blocked")};
}

}  // namespace

const FamilySets kSets4 = family_sets('4'), kSets6 = family_sets('6');

Result<std::vector<Link>> links_of(const std::vector<std::string>& interfaces) {
  std::vector<Link> out;
  for (const std::string& interface : interfaces) {
    const unsigned index = ::if_nametoindex(interface.c_str());
    if (index == 0) return fail_errno("cannot find interface " + interface);
    // Without the number for the first interface: most hosts have only one.
    const std::string number = out.empty() ? "" : fmt::format("_{}", index);
    const auto maps = [&](char v) {
      const auto map = [&](const char* name, bool removed_by_rules) {
        return SetName{NFPROTO_NETDEV, "sockmi", fmt::format("{}{}{}", name, v, number),
                       removed_by_rules};
      };
      return Link::Maps{map("redir", false), map("ended", true), map("ports", false)};
    };
    out.push_back({interface, index, maps('4'), maps('6')});
  }
  return out;
}

bool look_up(std::vector<Link>& links) {
  bool changed = false;
  for (Link& link : links) {
    const unsigned before = std::exchange(link.index, ::if_nametoindex(link.interface.c_str()));
    changed |= link.index != before;
  }
  return changed;
}

}  // namespace sockmi::steer
