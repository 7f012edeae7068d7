// Our rules are two tables that nobody else touches, set up once; what changes with connections are elements of their maps and sets.
//
//   netdev sockmi   at home: a packet of a moved connection goes on to where the endpoint lives, before our own stack sees it
//   inet sockmi     everywhere: what belongs to a frozen socket is dropped, both ways; what belongs to a guest is let in;
//                   what is for a guest's home, and for no socket here, is dropped (our stack would answer RST, or send it back)
#include "steer/steering.h"

#include <linux/netfilter.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string_view>

#include <nftables/libnftables.h>

#include "base/log.h"
#include "base/unique_fd.h"
#include "steer/adopt.h"
#include "steer/delivery_route.h"
#include "steer/sets.h"

namespace sockmi::steer {
namespace {

constexpr SetName kRedirects{NFPROTO_NETDEV, "sockmi", "redir4"};
constexpr SetName kHomes{NFPROTO_INET, "sockmi", "homes4"};

Result<> run_nft(const std::string& commands) {
  const std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> nft(nft_ctx_new(NFT_CTX_DEFAULT), nft_ctx_free);
  if (!nft) return fail(ENOMEM, "libnftables");
  nft_ctx_buffer_error(nft.get());
  nft_ctx_buffer_output(nft.get());
  if (nft_run_cmd_from_buffer(nft.get(), commands.c_str()) == 0) return {};
  std::string text = nft_ctx_get_error_buffer(nft.get());
  return fail(errno == EPERM ? EPERM : EIO, "nftables: {}", text.substr(0, text.find('\n')));
}

// Adding a table that is there is no error, deleting one that is not is: so this removes it either way.
constexpr const char* kRemoveTables = "add table netdev sockmi; delete table netdev sockmi; add table inet sockmi; delete table inet sockmi;";

std::string tables(const std::vector<std::string>& interfaces) {
  std::string chains;
  for (std::size_t i = 0; i < interfaces.size(); ++i)
    chains += fmt::format(R"(
  chain in{} {{
    type filter hook ingress device "{}" priority -500; policy accept;
    ip protocol tcp fwd ip to ip saddr . tcp sport . ip daddr . tcp dport map @redir4 device "{}"
  }})", i, interfaces[i], interfaces[i]);
  return fmt::format(R"(
table netdev sockmi {{
  map redir4 {{ type ipv4_addr . inet_service . ipv4_addr . inet_service : ipv4_addr; flags timeout; }}{}
}}
table inet sockmi {{
  set homes4 {{ type ipv4_addr; flags timeout; }}
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    meta l4proto tcp socket mark {:#x} drop
    meta l4proto tcp socket transparent 1 meta mark set {:#x} accept
    ip daddr @homes4 meta l4proto tcp drop
  }}
  chain output {{
    type filter hook output priority raw; policy accept;
    meta mark {:#x} drop
  }}
}}
)", chains, kFreezeMark, kDeliverMark, kFreezeMark);
}

// A map's key as the kernel has it: each part padded to four bytes. The peer is the source of the packets.
Bytes key_of(const FourTuple& tuple) {
  Bytes key;
  for (const SocketAddress* side : {&tuple.remote, &tuple.local}) {
    const IpAddress ip = side->ip.unmapped();
    key.insert(key.end(), ip.bytes.begin(), ip.bytes.begin() + 4);
    key.insert(key.end(), {std::uint8_t(side->port >> 8), std::uint8_t(side->port), 0, 0});
  }
  return key;
}

FourTuple tuple_of(const Bytes& key) {
  const auto side = [&](std::size_t at) {
    return SocketAddress{*IpAddress::from_bytes(ByteView(key).subspan(at, 4)), std::uint16_t(key[at + 4] << 8 | key[at + 5])};
  };
  return {.local = side(8), .remote = side(0)};
}

Result<Bytes> ipv4(const IpAddress& ip) {
  if (ip.unmapped().family != AF_INET) return fail(EAFNOSUPPORT, "{}: only IPv4 is steered yet", to_string(ip));
  const auto bytes = ip.unmapped();
  return Bytes(bytes.view().begin(), bytes.view().end());
}

// Our tables are one set a network namespace, and so is the name of an abstract Unix socket: who binds it may touch them. It is free again when
// its holder ends, however that happens.
Result<unique_fd> claim_namespace() {
  static constexpr std::string_view kName("\0sockmid", 8);
  unique_fd claim(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::ranges::copy(kName, address.sun_path);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + kName.size());
  if (!claim) return fail_errno("socket");
  if (::bind(claim.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return fail(errno, "another sockmid serves this network namespace");
  return claim;
}

class NftSteering : public Steering {
 public:
  NftSteering(unique_fd claim, std::unique_ptr<Netlink> netfilter, std::unique_ptr<Netlink> route)
      : claim_(std::move(claim)), netfilter_(std::move(netfilter)), route_(std::move(route)), sets_(*netfilter_) {}
  ~NftSteering() override {
    if (keep_) return;
    if (auto gone = run_nft(kRemoveTables); !gone) log::error("event=tables_left error=\"{}\"", to_string(gone.error()));
    if (auto gone = remove_delivery_route(*route_); !gone) log::error("event=route_left error=\"{}\"", to_string(gone.error()));
  }

  Result<> redirect(const FourTuple& tuple, const IpAddress& to, std::optional<std::chrono::milliseconds> timeout) override {
    TRY(ipv4(tuple.local.ip));
    TRY_LET(data, ipv4(to));
    return sets_.put(kRedirects, {key_of(tuple), data, timeout});
  }
  Result<> remove_redirect(const FourTuple& tuple) override { return sets_.remove(kRedirects, key_of(tuple)); }

  Result<std::vector<Redirect>> redirects() override {
    TRY_LET(elements, sets_.list(kRedirects));
    std::vector<Redirect> out;
    for (const Element& element : elements)
      if (element.key.size() == 16 && element.data.size() >= 4)
        out.push_back({tuple_of(element.key), *IpAddress::from_bytes(ByteView(element.data).first(4)), element.expires_in});
    return out;
  }

  Result<> shelter(const IpAddress& home) override {
    TRY_LET(key, ipv4(home));
    if (guests_[home] == 0) TRY(sets_.put(kHomes, {key, {}, std::nullopt}));
    ++guests_[home];
    return {};
  }
  Result<> unshelter(const IpAddress& home, std::chrono::milliseconds linger) override {
    const auto it = guests_.find(home);
    if (it == guests_.end() || --it->second > 0) return {};
    guests_.erase(it);
    TRY_LET(key, ipv4(home));
    return sets_.put(kHomes, {key, {}, linger});
  }

  Result<std::vector<IpAddress>> shelters() override {
    TRY_LET(elements, sets_.list(kHomes));
    std::vector<IpAddress> out;
    for (const Element& element : elements)
      if (const auto ip = IpAddress::from_bytes(element.key)) out.push_back(*ip);
    return out;
  }
  void keep(bool yes) override { keep_ = yes; }

 private:
  unique_fd claim_;
  std::unique_ptr<Netlink> netfilter_, route_;
  Sets sets_;
  std::map<IpAddress, unsigned> guests_;
  bool keep_ = true;
};

}  // namespace

Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces) {
  TRY_LET(claim, claim_namespace());
  TRY_LET(netfilter, Netlink::open(NETLINK_NETFILTER));
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  TRY_LET(change, change_to(*netfilter, tables(interfaces)));
  if (!change.empty()) TRY(run_nft(change));
  auto steering = std::make_unique<NftSteering>(std::move(claim), std::move(netfilter), std::move(route));
  TRY_LET(for_route, Netlink::open(NETLINK_ROUTE));
  TRY(add_delivery_route(*for_route, interfaces));
  return steering;
}

Result<> flush() {
  TRY_LET(claim, claim_namespace());
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  TRY(run_nft(kRemoveTables));
  return remove_delivery_route(*route);
}

}  // namespace sockmi::steer
