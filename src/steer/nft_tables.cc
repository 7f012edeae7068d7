// The text of the two tables.
//
//   netdev sockmi   At home: sends a packet of a moved connection on to the host where
//                   the endpoint lives, before our own network stack sees the packet.
//   inet sockmi     On every host: drops what a frozen socket sends (its output is
//                   blocked, its input is not). Delivers packets that belong to a foreign
//                   connection. Drops packets that belong to a foreign connection but
//                   match no socket here: our stack would answer with RST, or send them
//                   back. Does not touch any other packet for a foreign address: this
//                   host may be a router.
//
// One lookup decides whether a packet's connection has moved, and returns its importer.
// Its cost does not depend on the number of connections.
//
//   on a link of ours   (redir) The packet goes unchanged to the importer's link
//                       address.
//   behind a router     (routed) The packet's destination becomes the importer's own
//                       address, and it goes to the router's link address. There is no
//                       tunnel, so the MTU stays. The importer restores the old
//                       destination (rewritten). This needs no state and no ip_forward.
//                       The checksums are adjusted by the difference, so that they stay
//                       right for segments that the network card or the kernel has
//                       merged (GRO), and for those whose checksum is still to be
//                       computed.
//
// The last packets of an ended connection have maps of their own (ended, ended_routed). A
// SYN removes its connection from these maps, so that a new connection reaches a listener
// here.
//
// Alternatives considered:
// - DNAT. Because of connection tracking, the client got RST while the old entry was
//   there.
// - BPF. It is not faster.
// - One map for both kinds of importer, and a second lookup by its result. nft 1.0.6
//   crashes when it lists such a rule.
//
// Not supported: fragments of TCP packets other than the first, because they have no
// ports (TCP sets "don't fragment"). IPv6 extension headers are supported: `meta l4proto`
// skips them.
#include "steer/nft_tables.h"

#include <algorithm>

#include "steer/nft_command.h"
#include "steer/nft_icmp.h"
#include "steer/nft_upgrade.h"
#include "steer/packet_marks.h"
#include "steer/reused_tuples.h"

namespace sockmi::steer {
namespace {

// Removes the tables whether they exist or not: adding a table that exists is not an
// error, deleting one that does not exist is.
constexpr const char* kRemoveTables =
    "add table netdev sockmi; delete table netdev sockmi; add table inet sockmi; delete table inet "
    "sockmi;";

// `v`: 4 or 6. The sets whose keys are connections have timeouts, so that the kernel
// removes the elements of a daemon that has died.
std::string at_home(char v, const std::vector<Link>& links) {
  const std::string address = fmt::format("ipv{}_addr", v), ip = v == '4' ? "ip" : "ip6";
  const std::string port = address + " . inet_service", connection = port + " . " + port;
  const std::string to_port = fmt::format("{} daddr . tcp dport", ip),
                    of_connection = fmt::format("{} saddr . tcp sport . {}", ip, to_port);
  std::string maps, redirects, ended, ports;
  for (const Link& link : links) {
    const auto& [redirected, ended_map, moved] = v == '4' ? link.four : link.six;
    maps += fmt::format("\n  map {} {{ type {} : {}; flags timeout; }}", redirected.set, connection,
                        address);
    maps += fmt::format("\n  map {} {{ type {} : {}; flags dynamic,timeout; }}", ended_map.set,
                        connection, address);
    maps += fmt::format("\n  map {} {{ type {} : {}; flags timeout; }}", moved.set, port, address);
    if (link.index == 0) continue;
    redirects += fmt::format("\n    fwd {} to {} map @{} device \"{}\"", ip, of_connection,
                             redirected.set, link.interface);
    ended += fmt::format("\n    fwd {} to {} map @{} device \"{}\"", ip, of_connection,
                         ended_map.set, link.interface);
    ports += fmt::format("\n    fwd {} to {} map @{} device \"{}\"", ip, to_port, moved.set,
                         link.interface);
  }
  const std::string routed =
      fmt::format("fwd {0} to {0} daddr map @via{1} device {0} daddr map @out{1}", ip, v);
  return maps + fmt::format(R"(
  set returning{v} {{ type {connection}; flags timeout; }}
  map routed{v} {{ type {connection} : {address}; flags timeout; }}
  map ended_routed{v} {{ type {connection} : {address}; flags dynamic,timeout; }}
  map ports_routed{v} {{ type {port} : {address}; flags timeout; }}
  map via{v} {{ type {address} : {address}; }}
  map out{v} {{ type {address} : iface_index; }}
  set exempt{v} {{ type {connection}; flags timeout; }}
  chain begun{v} {{ }}
  chain tcp{v} {{
    {of_connection} @returning{v} meta mark set {returning:#x} accept{redirects}
    {ip} daddr set {of_connection} map @routed{v} {routed}
    tcp flags & (fin | syn | rst | ack) == syn jump begun{v}{ended}
    {ip} daddr set {of_connection} map @ended_routed{v} {routed}
    {of_connection} @exempt{v} accept{ports}
    {ip} daddr set {to_port} map @ports_routed{v} {routed}
  }}
  chain icmp{v} {{ }})",
                            fmt::arg("v", v), fmt::arg("connection", connection),
                            fmt::arg("address", address), fmt::arg("port", port),
                            fmt::arg("of_connection", of_connection), fmt::arg("to_port", to_port),
                            fmt::arg("returning", kReturningMark), fmt::arg("redirects", redirects),
                            fmt::arg("ended", ended), fmt::arg("ports", ports), fmt::arg("ip", ip),
                            fmt::arg("routed", routed));
}

std::string netdev_table(const std::vector<Link>& links) {
  std::string chains;
  for (const Link& link : links) {
    if (link.index != 0) {
      chains += fmt::format(R"(
  chain in{} {{
    type filter hook ingress device "{}" priority -500; policy accept;
    meta protocol ip meta l4proto tcp goto tcp4
    meta protocol ip6 meta l4proto tcp goto tcp6
    icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} goto icmp4
    icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded,
      parameter-problem }} goto icmp6
  }})",
                            link.index, link.interface);
    }
  }
  return fmt::format("table netdev sockmi {{{}{}{}\n}}\n", at_home('4', links), at_home('6', links),
                     chains);
}

std::string on_importer(char v) {
  return fmt::format(R"(
  set foreign{v} {{ type {a} . inet_service . {a} . inet_service; flags timeout; }}
  set foreign_ports{v} {{ type {a} . inet_service; flags timeout; }}
  map rewritten{v} {{ type {a} . inet_service . {a} . inet_service : {a}; flags timeout; }}
  map rewritten_ports{v} {{ type {a} . inet_service : {a}; flags timeout; }}
  set blocked{v} {{ type {a} . inet_service; flags timeout; }})",
                     fmt::arg("v", v), fmt::arg("a", fmt::format("ipv{}_addr", v)));
}

std::string inet_table() {
  return fmt::format(R"(table inet sockmi {{{four}{six}
  chain quoted4 {{ }}
  chain quoted6 {{ }}
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iif lo meta mark {inject:#x} accept
    ip daddr set ip saddr . tcp sport . ip daddr . tcp dport map @rewritten4
    ip6 daddr set ip6 saddr . tcp sport . ip6 daddr . tcp dport map @rewritten6
    ip daddr set ip daddr . tcp dport map @rewritten_ports4
    ip6 daddr set ip6 daddr . tcp dport map @rewritten_ports6
    icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} jump quoted4
    icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded,
      parameter-problem }} jump quoted6
    meta mark {returning:#x} socket mark {freeze:#x} accept
    meta mark {returning:#x} drop
    tcp flags & (fin | syn | rst | ack) == syn ip daddr . tcp dport @blocked4 drop
    tcp flags & (fin | syn | rst | ack) == syn ip6 daddr . tcp dport @blocked6 drop
    meta l4proto tcp socket transparent 1 meta mark set {deliver:#x} accept
    ip saddr . tcp sport . ip daddr . tcp dport @foreign4 fib daddr type != local drop
    ip6 saddr . tcp sport . ip6 daddr . tcp dport @foreign6 fib daddr type != local drop
    ip daddr . tcp dport @foreign_ports4 fib daddr type != local drop
    ip6 daddr . tcp dport @foreign_ports6 fib daddr type != local drop
  }}
  chain output {{
    type filter hook output priority raw; policy accept;
    meta mark {freeze:#x} drop
  }}
}}
)",
                     fmt::arg("four", on_importer('4')), fmt::arg("six", on_importer('6')),
                     fmt::arg("inject", kInjectMark), fmt::arg("returning", kReturningMark),
                     fmt::arg("freeze", kFreezeMark), fmt::arg("deliver", kDeliverMark));
}

}  // namespace

Result<> create_tables(net::Netlink& netfilter, const std::vector<Link>& links, ino_t daemon,
                       bool force) {
  const std::string mark =
      daemon ? fmt::format("add chain netdev sockmi {}\n", mark_of_service(daemon)) : "";
  TRY_LET(change, change_to(netfilter, netdev_table(links) + inet_table() + mark, force));
  if (!change.empty()) TRY(run_nft(change));
  auto rules = icmp_rules(links);
  std::ranges::move(begun_rules(links), std::back_inserter(rules));
  return replace_rules(netfilter, rules);
}
Result<> remove_tables() {
  return run_nft(kRemoveTables);
}

}  // namespace sockmi::steer
