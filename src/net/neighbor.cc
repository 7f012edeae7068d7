#include "net/neighbor.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace sockmi::net {
namespace {

using LinkAddress = std::array<std::uint8_t, 6>;
constexpr LinkAddress kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

Result<LinkAddress> link_address(unsigned interface) {
  const unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  if (!::if_indextoname(interface, request.ifr_name) ||
      ::ioctl(any.get(), SIOCGIFHWADDR, &request) != 0)
    return fail_errno("cannot read the interface");
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
    return fail(ENOTSUP, "interface {} is not Ethernet", request.ifr_name);
  LinkAddress out;
  std::memcpy(out.data(), request.ifr_hwaddr.sa_data, out.size());
  return out;
}

// --- IPv4 ---

Result<unique_fd> arp_socket(unsigned interface) {
  unique_fd socket(
      ::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ARP)));
  if (!socket) return fail_errno("cannot create an ARP socket (it needs CAP_NET_RAW)");
  sockaddr_ll here{.sll_family = AF_PACKET,
                   .sll_protocol = htons(ETH_P_ARP),
                   .sll_ifindex = static_cast<int>(interface)};
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0)
    return fail_errno("cannot bind an ARP socket");
  return socket;
}

Result<> send_arp(int fd, unsigned interface, std::uint16_t operation, const LinkAddress& from,
                  const IpAddress& sender, const LinkAddress& to, const IpAddress& target) {
  ether_arp packet{};
  packet.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
                   .ar_pro = htons(ETH_P_IP),
                   .ar_hln = 6,
                   .ar_pln = 4,
                   .ar_op = htons(operation)};
  std::ranges::copy(from, packet.arp_sha);
  std::ranges::copy(sender.bytes.begin(), sender.bytes.begin() + 4, packet.arp_spa);
  std::ranges::copy(to, packet.arp_tha);
  std::ranges::copy(target.bytes.begin(), target.bytes.begin() + 4, packet.arp_tpa);
  sockaddr_ll destination{.sll_family = AF_PACKET,
                          .sll_protocol = htons(ETH_P_ARP),
                          .sll_ifindex = static_cast<int>(interface),
                          .sll_hatype = 0,
                          .sll_pkttype = 0,
                          .sll_halen = 6,
                          .sll_addr = {}};
  std::ranges::copy(kBroadcast, destination.sll_addr);
  if (::sendto(fd, &packet, sizeof packet, 0, reinterpret_cast<const sockaddr*>(&destination),
               sizeof destination) < 0)
    return fail_errno("cannot send an ARP packet");
  return {};
}

// --- IPv6 ---

// A solicitation or an advertisement, with the one option that carries a link-layer
// address.
struct Neighbour {
  icmp6_hdr head;
  in6_addr target;
  std::uint8_t option, eights;
  LinkAddress link;
};
static_assert(sizeof(Neighbour) == 32);

Result<unique_fd> icmp_socket(unsigned interface) {
  unique_fd socket(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6));
  if (!socket) return fail_errno("cannot create an ICMPv6 socket (it needs CAP_NET_RAW)");
  // Neighbors ignore packets that have another hop limit than 255.
  const int hops = 255, off = 0, index = static_cast<int>(interface);
  icmp6_filter advertisements;
  ICMP6_FILTER_SETBLOCKALL(&advertisements);
  ICMP6_FILTER_SETPASS(ND_NEIGHBOR_ADVERT, &advertisements);
  if (::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) != 0 ||
      // Multicast loopback is off, because otherwise our own kernel would answer us.
      ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &off, sizeof off) != 0 ||
      ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) != 0 ||
      ::setsockopt(socket.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &advertisements,
                   sizeof advertisements) != 0)
    return fail_errno("cannot set up an ICMPv6 socket");
  return socket;
}

Result<> send_neighbour(int fd, unsigned interface, std::uint8_t type, const IpAddress& target,
                        const LinkAddress& link, const in6_addr& to) {
  const bool advert = type == ND_NEIGHBOR_ADVERT;
  Neighbour packet{.head = {},
                   .target = {},
                   .option = std::uint8_t(advert ? ND_OPT_TARGET_LINKADDR : ND_OPT_SOURCE_LINKADDR),
                   .eights = 1,
                   .link = link};
  packet.head.icmp6_type = type;
  if (advert) packet.head.icmp6_dataun.icmp6_un_data32[0] = ND_NA_FLAG_OVERRIDE;
  std::ranges::copy(target.bytes, packet.target.s6_addr);
  const sockaddr_in6 there{.sin6_family = AF_INET6,
                           .sin6_port = 0,
                           .sin6_flowinfo = 0,
                           .sin6_addr = to,
                           .sin6_scope_id = interface};
  if (::sendto(fd, &packet, sizeof packet, 0, reinterpret_cast<const sockaddr*>(&there),
               sizeof there) < 0)
    return fail_errno("cannot send a neighbour solicitation");
  return {};
}

in6_addr solicited_node(const IpAddress& address) {  // ff02::1:ffXX:XXXX
  in6_addr out{};
  out.s6_addr[0] = 0xff, out.s6_addr[1] = 2, out.s6_addr[11] = 1, out.s6_addr[12] = 0xff;
  std::ranges::copy(address.bytes.begin() + 13, address.bytes.end(), out.s6_addr + 13);
  return out;
}

}  // namespace

Result<> announce(const IpAddress& address, unsigned interface) {
  TRY_LET(link, link_address(interface));
  if (address.family == AF_INET) {
    TRY_LET(socket, arp_socket(interface));
    TRY(send_arp(socket.get(), interface, ARPOP_REQUEST, link, address, {}, address));
    return send_arp(socket.get(), interface, ARPOP_REPLY, link, address, kBroadcast, address);
  }
  TRY_LET(socket, icmp_socket(interface));
  sockaddr_storage from{};
  const socklen_t size = SocketAddress{address, 0}.to(from);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&from), size) != 0)
    return fail_errno("cannot announce " + to_string(address));
  static constexpr in6_addr kAllNodes{{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}};
  return send_neighbour(socket.get(), interface, ND_NEIGHBOR_ADVERT, address, link, kAllNodes);
}

Result<Probe> Probe::open(const IpAddress& address, unsigned interface) {
  Probe probe(address, interface);
  TRY_LET(link, link_address(interface));
  TRY_LET(socket, address.family == AF_INET ? arp_socket(interface) : icmp_socket(interface));
  probe.ours_ = link;
  probe.socket_ = std::move(socket);
  return probe;
}

Result<> Probe::ask() {
  if (address_.family == AF_INET) {
    // Without a sender address, no neighbor takes us for the holder.
    const IpAddress unspecified{.family = AF_INET, .bytes = {}};
    return send_arp(socket_.get(), interface_, ARPOP_REQUEST, ours_, unspecified, {}, address_);
  }
  return send_neighbour(socket_.get(), interface_, ND_NEIGHBOR_SOLICIT, address_, ours_,
                        solicited_node(address_));
}

bool Probe::heard() {
  std::uint8_t packet[512];
  for (ssize_t got; (got = ::recv(socket_.get(), packet, sizeof packet, 0)) > 0;) {
    if (address_.family == AF_INET) {
      if (static_cast<std::size_t>(got) < sizeof(ether_arp)) continue;
      ether_arp arp;
      std::memcpy(&arp, packet, sizeof arp);
      if (std::equal(arp.arp_spa, arp.arp_spa + 4, address_.bytes.begin()) &&
          !std::ranges::equal(arp.arp_sha, ours_))
        return true;
    } else {
      if (static_cast<std::size_t>(got) < sizeof(nd_neighbor_advert)) continue;
      nd_neighbor_advert advert;
      std::memcpy(&advert, packet, sizeof advert);
      // Our own kernel's advertisements do not come back to us, so this one is from
      // another host.
      if (std::ranges::equal(advert.nd_na_target.s6_addr, address_.bytes)) return true;
    }
  }
  return false;
}

}  // namespace sockmi::net
