#include "steer/syn_filter.h"

#include "base/log.h"
#include "steer/nft_command.h"

namespace sockmi::steer {
namespace {

constexpr const char* kRemoveFilter = "add table inet sockmi_syn; delete table inet sockmi_syn;";

}  // namespace

Result<SynFilter> SynFilter::close(const IpAddress& address, std::chrono::seconds at_most) {
  const bool v4 = address.family == AF_INET;
  TRY(run_nft(fmt::format(R"({}
table inet sockmi_syn {{
  set addresses {{ type {}; flags timeout; elements = {{ {} timeout {}s }}; }}
  chain in {{
    type filter hook prerouting priority raw - 10; policy accept;
    {} daddr @addresses tcp flags & (syn | ack) == syn drop
  }}
}})",
                          kRemoveFilter, v4 ? "ipv4_addr" : "ipv6_addr", to_string(address),
                          at_most.count(), v4 ? "ip" : "ip6")));
  return SynFilter();
}

SynFilter::~SynFilter() {
  if (!closed_) return;
  if (auto opened = remove_syn_filters(); !opened)
    log::error("syn_filter_remove_failed", {{"error", opened.error()}});
}

Result<> remove_syn_filters() {
  return run_nft(kRemoveFilter);
}

}  // namespace sockmi::steer
