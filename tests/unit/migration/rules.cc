// The rules of two hosts, which outlive their processes, and where they send packets.
#include <algorithm>
#include <sstream>

#include "interposed.h"
#include "two_hosts.h"

namespace sockmi::daemon {

std::string TwoHosts::steer(Rules& rules, const std::string& operation) {
  std::istringstream words(operation);
  std::string what, tuple, to, answer;
  std::int64_t lifetime;
  words >> what;
  const auto until = [&] {
    return lifetime < 0 ? kNoTimer : now() + lifetime * kMillisecond;
  };
  const auto left = [&](Nanoseconds time) {
    return time == kNoTimer ? -1 : std::max<std::int64_t>(1, (time - now()) / kMillisecond);
  };
  if (what == "redirect")
    while (words >> tuple >> to >> lifetime)
      rules.redirects[tuple] = {to, until()};
  else if (what == "remove_redirects")
    while (words >> tuple)
      rules.redirects.erase(tuple), rules.returning.erase(tuple);
  else if (what == "begin_return" && words >> tuple >> lifetime)
    rules.returning[tuple] = until();
  else if (what == "cancel_return" && words >> tuple)
    rules.returning.erase(tuple);
  else if (what == "add_foreign_address")
    while (words >> tuple >> lifetime)
      rules.foreign[tuple] = until();
  else if (what == "redirect_port" && words >> tuple >> to)
    rules.ports[tuple] = to;
  else if (what == "remove_port_redirect" && words >> tuple)
    rules.ports.erase(tuple);
  else if (what == "block_port" && words >> tuple >> lifetime)
    rules.blocked[tuple] = until();
  else if (what == "unblock_port" && words >> tuple)
    rules.blocked.erase(tuple);
  else if (what == "redirected_ports")
    for (const auto& [port, holder] : rules.ports)
      answer += port + " ";
  else if (what == "redirects")
    for (const auto& [each, redirect] : rules.redirects)
      answer += fmt::format("{} {} {} ", each, redirect.to, left(redirect.until));
  else if (what == "foreign")
    for (const auto& [each, time] : rules.foreign)
      answer += fmt::format("{} {} ", each, left(time));
  route();
  return answer;
}

// The kernel ends rules by itself.
void TwoHosts::expire_rules() {
  for (Host& host : hosts_) {
    std::erase_if(host.rules.redirects,
                  [&](const auto& each) { return each.second.until <= now(); });
    for (auto* all : {&host.rules.returning, &host.rules.foreign, &host.rules.blocked})
      std::erase_if(*all, [&](const auto& each) { return each.second <= now(); });
  }
  route();
}

void TwoHosts::route() {
  const Rules& home = hosts_[Network::A].rules;
  for (const Connection& each : connections_) {
    const bool is_away = scenario_.listens ? home.ports.contains(each.local())
                                           : home.redirects.contains(each.tuple) &&
                                                 !home.returning.contains(each.tuple);
    network_.route(each.number, is_away ? Network::B : Network::A);
  }
}

}  // namespace sockmi::daemon
