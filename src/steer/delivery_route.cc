#include "steer/delivery_route.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "steer/steering.h"

namespace sockmi::steer {
namespace {

constexpr std::uint32_t kTable = 29547;     // our own
constexpr std::uint32_t kPriority = 29547;  // of our rules: before the main table's 32766

struct Message {
  alignas(nlmsghdr) char buffer[1024] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
};

Result<> change_rule(Netlink& route, std::uint16_t type, std::uint16_t flags, const char* interface) {
  Message m;
  m.header->nlmsg_type = type;
  m.header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
  m.header->nlmsg_seq = route.next_sequence();
  auto* rule = static_cast<fib_rule_hdr*>(mnl_nlmsg_put_extra_header(m.header, sizeof(fib_rule_hdr)));
  rule->family = AF_INET;
  rule->action = FR_ACT_TO_TBL;
  if (interface) mnl_attr_put_strz(m.header, FRA_IIFNAME, interface);
  if (interface) mnl_attr_put_u32(m.header, FRA_FWMARK, kDeliverMark);
  mnl_attr_put_u32(m.header, FRA_TABLE, kTable);
  mnl_attr_put_u32(m.header, FRA_PRIORITY, kPriority);
  return route.transact(m.header, m.header->nlmsg_len, 1, "routing rule");
}

Result<> change_route(Netlink& route, std::uint16_t type, std::uint16_t flags) {
  Message m;
  m.header->nlmsg_type = type;
  m.header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
  m.header->nlmsg_seq = route.next_sequence();
  auto* entry = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(m.header, sizeof(rtmsg)));
  entry->rtm_family = AF_INET;
  entry->rtm_type = RTN_LOCAL;
  entry->rtm_scope = RT_SCOPE_HOST;
  entry->rtm_protocol = RTPROT_STATIC;
  entry->rtm_table = RT_TABLE_UNSPEC;
  mnl_attr_put_u32(m.header, RTA_TABLE, kTable);
  mnl_attr_put_u32(m.header, RTA_OIF, ::if_nametoindex("lo"));
  return route.transact(m.header, m.header->nlmsg_len, 1, "delivery route");
}

}  // namespace

Result<> add_delivery_route(Netlink& route, const std::vector<std::string>& interfaces) {
  TRY(change_route(route, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE));
  for (const auto& interface : interfaces) {  // an earlier daemon's are in use: they are not removed first
    auto added = change_rule(route, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, interface.c_str());
    if (!added && added.error().code != EEXIST) return added;
  }
  return {};
}

Result<> remove_delivery_route(Netlink& route) {
  for (;;) {  // one at a time, whichever interface it is for
    auto removed = change_rule(route, RTM_DELRULE, 0, nullptr);
    if (!removed && removed.error().code == ENOENT) break;
    if (!removed) return removed;
  }
  auto removed = change_route(route, RTM_DELROUTE, 0);
  if (!removed && removed.error().code != ESRCH && removed.error().code != ENOENT) return removed;
  return {};
}

}  // namespace sockmi::steer
