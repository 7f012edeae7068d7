#include "steer/policy_route.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>

#include "net/netlink_message.h"
#include "steer/packet_marks.h"

namespace sockmi::steer {
namespace {

// Priority of our rules: before the main table's rule, 32766.
constexpr std::uint32_t kPriority = kSockmiTag;
// As if the kernel had made them. Network managers, above all systemd-networkd, remove
// routes and rules made by others, whatever protocol these carry, but not the kernel's.
constexpr std::uint8_t kProtocol = RTPROT_KERNEL;

struct Match {
  const char* interface;  // none: any rule of ours
  std::uint32_t mark;
};

Result<> change_rule(net::Netlink& route, int family, int type, int flags, const Match& match) {
  net::NetlinkRequest<fib_rule_hdr> rule(route, type, NLM_F_ACK | flags);
  rule->family = static_cast<unsigned char>(family);
  rule->action = FR_ACT_TO_TBL;
  if (match.interface) {
    mnl_attr_put_strz(rule.header(), FRA_IIFNAME, match.interface);
    rule.add(FRA_FWMARK, match.mark);
  }
  rule.add(FRA_TABLE, kDeliveryTable);
  rule.add(FRA_PRIORITY, kPriority);
  if (type == RTM_NEWRULE) mnl_attr_put_u8(rule.header(), FRA_PROTOCOL, kProtocol);
  return rule.send("cannot change a routing rule");
}

Result<> change_route(net::Netlink& route, int family, int type, int flags) {
  net::NetlinkRequest<rtmsg> entry(route, type, NLM_F_ACK | flags);
  entry->rtm_family = static_cast<unsigned char>(family);
  entry->rtm_type = RTN_LOCAL;
  entry->rtm_scope = RT_SCOPE_HOST;
  entry->rtm_protocol = type == RTM_NEWROUTE ? kProtocol : std::uint8_t(RTPROT_UNSPEC);
  entry->rtm_table = RT_TABLE_UNSPEC;
  entry.add(RTA_TABLE, kDeliveryTable);
  entry.add(RTA_OIF, ::if_nametoindex("lo"));
  return entry.send("cannot change the policy route");
}

// Returns 1 if something was added, 0 if it was there already.
Result<unsigned> counted(Result<> added) {
  if (added) return 1u;
  if (added.error().code == EEXIST) return 0u;
  return pass(std::move(added));
}

Result<unsigned> add(net::Netlink& route, int family, const std::vector<std::string>& interfaces) {
  TRY_LET(missing, counted(change_route(route, family, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)));
  // Packets that this host generates count as received from "lo".
  std::vector<Match> matches = {{"lo", kInjectMark}};
  for (const auto& interface : interfaces)
    matches.push_back({interface.c_str(), kDeliverMark});
  // Rules of an earlier daemon are in use, so they are not removed first.
  for (const Match& match : matches) {
    TRY_LET(added,
            counted(change_rule(route, family, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, match)));
    missing += added;
  }
  return missing;
}

Result<> remove(net::Netlink& route, int family) {
  for (;;) {  // each call removes one rule, whichever it is
    auto removed = change_rule(route, family, RTM_DELRULE, 0, {});
    if (!removed && removed.error().code == ENOENT) break;
    if (!removed) return removed;
  }
  auto removed = change_route(route, family, RTM_DELROUTE, 0);
  if (!removed && removed.error().code != ESRCH && removed.error().code != ENOENT) return removed;
  return {};
}

// A host may have no IPv6, because the kernel lacks it or a sysctl disables it. Then
// there is nothing to deliver.
template <class T>
bool is_off(int family, const Result<T>& result) {
  constexpr int kOff[] = {EAFNOSUPPORT, EOPNOTSUPP, ENODEV, EACCES};
  return family == AF_INET6 && !result &&
         std::ranges::find(kOff, result.error().code) != std::end(kOff);
}

}  // namespace

Result<unsigned> add_delivery_route(net::Netlink& route,
                                    const std::vector<std::string>& interfaces) {
  unsigned missing = 0;
  for (const int family : {AF_INET, AF_INET6}) {
    auto added = add(route, family, interfaces);
    if (!added && !is_off(family, added)) return added;
    missing += added.value_or(0);
  }
  return missing;
}

Result<> remove_delivery_route(net::Netlink& route) {
  for (const int family : {AF_INET, AF_INET6})
    if (auto removed = remove(route, family); !removed && !is_off(family, removed)) return removed;
  return {};
}

}  // namespace sockmi::steer
