#include "steer/boot_filter.h"

#include <netinet/in.h>

#include "steer/nft_command.h"

namespace sockmi::steer {
namespace {

constexpr const char* kBootTable = "inet sockmi_hold";

std::string set_of(char v, const std::string& elements, std::chrono::seconds longest) {
  return fmt::format(
      "  set connections{v} {{ type ipv{v}_addr . inet_service . ipv{v}_addr . inet_service; flags "
      "timeout; timeout {t}s; {e} }}\n",
      fmt::arg("v", v), fmt::arg("t", longest.count()),
      fmt::arg("e", elements.empty() ? "" : "elements = { " + elements + " }"));
}

std::string element_of(const FourTuple& tuple) {
  return fmt::format("{} . {} . {} . {}", to_string(tuple.local.ip), tuple.local.port,
                     to_string(tuple.remote.ip), tuple.remote.port);
}

}  // namespace

Result<> hold_connections(std::span<const FourTuple> tuples, std::chrono::seconds longest) {
  std::string four, six;
  for (const FourTuple& each : tuples) {
    const FourTuple tuple = each.unmapped();
    std::string& elements = tuple.local.ip.family == AF_INET ? four : six;
    elements += (elements.empty() ? "" : ", ") + element_of(tuple);
  }
  TRY(release_connections());
  if (tuples.empty()) return {};
  return run_nft(fmt::format(R"(table {} {{
{}{}  chain prerouting {{
    type filter hook prerouting priority raw; policy accept;
    ip daddr . tcp dport . ip saddr . tcp sport @connections4 drop
    ip6 daddr . tcp dport . ip6 saddr . tcp sport @connections6 drop
  }}
}}
)",
                             kBootTable, set_of('4', four, longest), set_of('6', six, longest)));
}

// Adds the table first, because deleting a table that does not exist is an error.
Result<> release_connections() {
  return run_nft(fmt::format("add table {0}\ndelete table {0}\n", kBootTable));
}

}  // namespace sockmi::steer
