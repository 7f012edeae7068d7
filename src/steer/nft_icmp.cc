// Rules for ICMP errors about moved connections.
//
// The importer needs these errors, above all "fragmentation needed": without them a
// smaller MTU on the path becomes a black hole. An ICMP error identifies the connection
// by the packet that it quotes, which is one of ours to the peer. So the key for the
// redirect maps is read from the quoted packet. nft's grammar cannot express that, but
// the kernel's expressions can.
//
// To an importer behind a router, the error is sent as if home had sent it: the router
// that wrote the error would not accept it back from us with its own address as the
// source. On the importer, the error gets home's address as its destination again (chains
// quoted4 and quoted6). The stack would look only at the quoted packet, but a firewall
// that tracks connections compares the two. After that, and also when the importer is on
// a link of ours, the importer marks the error for local delivery.
//
// Not supported: errors that quote an IPv4 header with options, or an IPv6 header with
// extension headers.
#include "steer/nft_icmp.h"

#include <netinet/in.h>

#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "steer/packet_marks.h"

namespace sockmi::steer {
namespace {

constexpr unsigned kQuote = 8;  // after the ICMP header

// The offsets in the packets of one address family, and the registers that we use.
struct Layout {
  std::uint32_t nfproto;
  std::uint16_t ethertype;
  std::uint8_t icmp;
  const char *chain, *quoted_chain;
  unsigned source, destination, protocol, address_size, header_size;  // in the IP header
  const FamilySets& sets;

  // Registers: the key (peer, its port, home, its port) in kConnection; the next hop in
  // kImporter, which overwrites the key after the lookup; and the interface in
  // kInterface.
  unsigned units() const { return address_size / 4; }
  unsigned home() const { return units() + 1; }
  static constexpr unsigned kConnection = 0, kInterface = 14, kImporter = 0;

  Rule start(std::uint32_t family, const char* chain) const {
    const std::uint8_t type[] = {std::uint8_t(ethertype >> 8), std::uint8_t(ethertype)},
                       plain[] = {0x45}, tcp[] = {IPPROTO_TCP};
    Rule rule(family, "sockmi", chain);
    rule.meta_is(NFT_META_PROTOCOL, type).meta_is(NFT_META_L4PROTO, {&icmp, 1});
    if (nfproto == NFPROTO_IPV4) rule.payload_is(Header::Transport, kQuote, plain);
    rule.payload_is(Header::Transport, kQuote + protocol, tcp);
    return rule;
  }
  Rule about_connection(std::uint32_t family, const char* chain) const {
    const unsigned ports = kQuote + header_size;
    Rule rule = start(family, chain);
    rule.payload(Header::Transport, kQuote + destination, address_size, kConnection)
        .payload(Header::Transport, ports + 2, 2, units());
    rule.payload(Header::Transport, kQuote + source, address_size, home())
        .payload(Header::Transport, ports, 2, home() + units());
    return rule;
  }
  Rule at_home() const { return about_connection(NFPROTO_NETDEV, chain); }
  Rule on_link(const SetName& map, unsigned key, const Link& link) const {
    Rule rule = at_home();
    rule.lookup(map, key, kImporter)
        .immediate(link.index, kInterface)
        .forward(nfproto, kInterface, kImporter);
    return rule;
  }
  Rule routed(const SetName& map, unsigned key) const {
    Rule rule = at_home();
    const bool covered = nfproto == NFPROTO_IPV6;  // the ICMPv4 checksum does not cover addresses
    const unsigned scratch = kInterface - units();
    rule.lookup(map, key, kImporter);
    rule.payload(Header::Network, destination, address_size, scratch)
        .set_address(nfproto, source, scratch, covered);
    rule.set_address(nfproto, destination, kImporter, covered);
    rule.payload(Header::Network, destination, address_size, scratch)
        .lookup(sets.out, scratch, kInterface);
    rule.payload(Header::Network, destination, address_size, kImporter)
        .lookup(sets.via, kImporter, kImporter);
    rule.forward(nfproto, kInterface, kImporter);
    return rule;
  }
  Rule deliver(const SetName& foreign, unsigned key) const {
    Rule rule = about_connection(NFPROTO_INET, quoted_chain);
    rule.lookup(foreign, key).set_address(nfproto, destination, home(), nfproto == NFPROTO_IPV6);
    rule.set_mark(kDeliverMark).accept();
    return rule;
  }
};

const Layout kLayouts[] = {
    {NFPROTO_IPV4, ETH_P_IP, IPPROTO_ICMP, "icmp4", "quoted4", 12, 16, 9, 4, 20, kSets4},
    {NFPROTO_IPV6, ETH_P_IPV6, IPPROTO_ICMPV6, "icmp6", "quoted6", 8, 24, 6, 16, 40, kSets6},
};

}  // namespace

std::vector<Rule> icmp_rules(const std::vector<Link>& links) {
  std::vector<Rule> out;
  for (const Layout& l : kLayouts) {
    const auto maps = [&](const Link& link) {
      return l.nfproto == NFPROTO_IPV4 ? link.four : link.six;
    };
    for (const Link& link : links) {
      if (link.index != 0) out.push_back(l.on_link(maps(link).redirects, l.kConnection, link));
    }
    out.push_back(l.routed(l.sets.routed, l.kConnection));
    out.push_back(std::move(l.at_home().lookup(l.sets.exempt, l.kConnection).accept()));
    for (const Link& link : links)
      if (link.index != 0) out.push_back(l.on_link(maps(link).ports, l.home(), link));
    out.push_back(l.routed(l.sets.ports_routed, l.home()));
    out.push_back(l.deliver(l.sets.foreign, l.kConnection));
    out.push_back(l.deliver(l.sets.foreign_ports, l.home()));
  }
  return out;
}

}  // namespace sockmi::steer
