//   netdev sockmi   at home: a packet of a moved connection goes on to where the endpoint lives, before our own stack sees it
//   inet sockmi     everywhere: what a frozen socket says is dropped (it is mute, not deaf); what belongs to a guest is let in;
//                   what is for a guest's home, and for no socket here, is dropped (our stack would answer RST, or send it back)
#include "steer/tables.h"

#include <nftables/libnftables.h>

#include "steer/steering.h"

namespace sockmi::steer {
namespace {

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
constexpr const char* kRemove = "add table netdev sockmi; delete table netdev sockmi; add table inet sockmi; delete table inet sockmi;";

std::string text(const std::vector<std::string>& interfaces) {
  std::string chains;
  for (std::size_t i = 0; i < interfaces.size(); ++i)
    chains += fmt::format(R"(
  chain in{0} {{
    type filter hook ingress device "{1}" priority -500; policy accept;
    ip protocol tcp ip saddr . tcp sport . ip daddr . tcp dport @coming4 meta mark set {2:#x} accept
    ip6 nexthdr tcp ip6 saddr . tcp sport . ip6 daddr . tcp dport @coming6 meta mark set {2:#x} accept
    ip protocol tcp fwd ip to ip saddr . tcp sport . ip daddr . tcp dport map @redir4 device "{1}"
    ip6 nexthdr tcp fwd ip6 to ip6 saddr . tcp sport . ip6 daddr . tcp dport map @redir6 device "{1}"
  }})", i, interfaces[i], kComingMark);
  return fmt::format(R"(
table netdev sockmi {{
  map redir4 {{ type ipv4_addr . inet_service . ipv4_addr . inet_service : ipv4_addr; flags timeout; }}
  map redir6 {{ type ipv6_addr . inet_service . ipv6_addr . inet_service : ipv6_addr; flags timeout; }}
  set coming4 {{ type ipv4_addr . inet_service . ipv4_addr . inet_service; flags timeout; }}
  set coming6 {{ type ipv6_addr . inet_service . ipv6_addr . inet_service; flags timeout; }}{}
}}
table inet sockmi {{
  set homes4 {{ type ipv4_addr; flags timeout; }}
  set homes6 {{ type ipv6_addr; flags timeout; }}
  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iif lo meta mark {:#x} accept
    meta mark {:#x} socket mark {:#x} accept
    meta mark {:#x} drop
    meta l4proto tcp socket transparent 1 meta mark set {:#x} accept
    ip daddr @homes4 meta l4proto tcp drop
    ip6 daddr @homes6 meta l4proto tcp drop
  }}
  chain output {{
    type filter hook output priority raw; policy accept;
    meta mark {:#x} drop
  }}
}}
)", chains, kInjectMark, kComingMark, kFreezeMark, kComingMark, kDeliverMark, kFreezeMark);
}

}  // namespace

Result<> create_tables(const std::vector<std::string>& interfaces) { return run_nft(kRemove + text(interfaces)); }
Result<> remove_tables() { return run_nft(kRemove); }

}  // namespace sockmi::steer
