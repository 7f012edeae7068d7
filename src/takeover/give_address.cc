#include "takeover/give_address.h"

#include <algorithm>
#include <fstream>
#include <set>

#include <fmt/ranges.h>

#include "base/backoff.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/redirects.h"
#include "context/async_event.h"
#include "net/interface_name.h"
#include "steer/syn_filter.h"
#include "takeover/address_probe.h"
#include "takeover/takeover.h"

namespace sockmi::daemon {
namespace {

using net::HostAddress;
using std::chrono::seconds;

// For the new holder to answer a message; later answers are ignored.
constexpr milliseconds kHoldReplyTimeout{2000};
// Connections that are left when their number did not change for so long will not move.
constexpr milliseconds kStallTimeout{3000};
// For the applications, each time they are asked. The next time, an application that
// needed longer is not waited for.
constexpr milliseconds kExportTimeout{10000};
constexpr milliseconds kFirstPause{20};
constexpr milliseconds kLongestPause{320};
constexpr milliseconds kKeepPause{200};
// How long after the end of the Hold a link that cannot be probed is tried again.
constexpr seconds kProbePatience{10};
constexpr seconds kSynFilterLifetime{90};
const User kRoot{0, "root"};

std::string first_few(const std::vector<net::TcpSocket>& connections) {
  std::string out;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, connections.size()); ++i)
    out += (i ? ", " : "") + to_string(connections[i].tuple);
  return connections.size() > 3 ? out + ", ..." : out;
}

std::unexpected<Error> not_all_moved(const std::vector<net::TcpSocket>& left,
                                     const ExportOutcome& exports) {
  std::string unanswered;
  if (!exports.unanswered.empty()) {
    unanswered =
        fmt::format(" (no answer from applications of {})", fmt::join(exports.unanswered, ", "));
  }
  return fail(EBUSY,
              "cannot move {} connections, of which {} could not be exported, and no application "
              "exports the others{}: {}",
              left.size(), exports.failed, unanswered, first_few(left));
}

// Removes the records of the address's connections, which are the new holder's now. The
// redirects stay a little longer, for hosts that still send packets to us.
void disown_connections(Connections& connections, const IpAddress& address) {
  const auto remote = connections.table.remote();  // a copy: it changes meanwhile
  for (const auto& [tuple, away] : remote) {
    if (tuple.local.ip.unmapped() != address) continue;
    (void)redirect(connections.services, connections.table, tuple, away,
                   std::max(connections.services.settings.linger, milliseconds(1)));
    connections.table.mark_returned(tuple);
  }
}

}  // namespace

asio::awaitable<Result<TakeoverOutcome>> AddressGiver::give(IpAddress address, std::string to,
                                                            bool force) {
  CO_TRY_LET(own, find_own(address));
  CO_TRY_LET(host, connections_.services.discovery->find_host(to));
  if (*giving_) co_return fail(EBUSY, "another takeover is under way");
  *giving_ = true;
  const std::shared_ptr<void> done(nullptr, [giving = giving_](void*) { *giving = false; });
  // Only the new holder itself can become the home of a connection.
  for (const auto& [tuple, away] : connections_.table.remote()) {
    if (tuple.local.ip.unmapped() == address && away.host != host.host) {
      co_return fail(EBUSY, "{} lives on {}: move it to {} first", to_string(tuple), away.host,
                     host.host);
    }
  }
  CO_TRY(co_await send(host, wire::TakeOverStep::Ask, own));
  auto outcome = co_await move_connections(address, host, force);
  log::info("takeover_finished", {{"address", address},
                                  {"host", host.host},
                                  {"moved", outcome ? outcome->moved : 0},
                                  {"lost", outcome ? outcome->lost.size() : 0},
                                  {"error", outcome ? "" : to_string(outcome.error())}});
  co_return outcome;
}

// Returns our address if it can be given away.
Result<HostAddress> AddressGiver::find_own(const IpAddress& address) const {
  if (address == connections_.services.settings.address) {
    return fail(EINVAL,
                "cannot give {} away: it is this daemon's own address, not one of a service",
                to_string(address));
  }
  TRY_LET(all, net::host_addresses());
  const auto it = std::ranges::find(all, address, &HostAddress::ip);
  if (it == all.end())
    return fail(EADDRNOTAVAIL, "{} is not an address of this host", to_string(address));
  const std::string interface = net::interface_name(it->interface);
  if (std::ranges::find(connections_.services.settings.interfaces, interface) ==
      connections_.services.settings.interfaces.end()) {
    return fail(EINVAL, "address {} is on {}, which is not in 'interfaces'", to_string(address),
                interface);
  }
  if (it->secondary || address.family != AF_INET) return *it;
  const auto is_removed_with_it = [&](const HostAddress& other) {
    return other.secondary && other.interface == it->interface && other.prefix == it->prefix &&
           other.ip.in_prefix(it->ip, it->prefix);
  };
  std::ifstream setting("/proc/sys/net/ipv4/conf/" + interface + "/promote_secondaries");
  int promote = 0;
  setting >> promote;
  if (promote == 0 && std::ranges::any_of(all, is_removed_with_it)) {
    return fail(ENOTSUP,
                "cannot give {} away: it is the primary address of its subnet on {}, and the "
                "others would go with it (set net.ipv4.conf.{}.promote_secondaries)",
                to_string(address), interface, interface);
  }
  return *it;
}

asio::awaitable<Result<>> AddressGiver::send(const cluster::HostInfo& to, wire::TakeOverStep step,
                                             const HostAddress& address) {
  auto reply = co_await connections_.services.control->call(
      to.host, to.control_address,
      wire::pack_take_over(step, address.ip, address.prefix, address.deprecated),
      kHoldReplyTimeout);
  if (!reply) co_return pass(std::move(reply));
  CO_TRY(wire::read_answer(*reply));
  co_return Result<>();
}

// Asks all applications to export their connections at the address. `unanswered` in the
// outcome: the users of those that do not answer. Their connections, if at this address,
// are among those that are left.
asio::awaitable<ExportOutcome> AddressGiver::export_connections(IpAddress address, IpAddress to) {
  const ExportRequest request{
      .request = 0, .local = {address, unsigned(address.size() * 8), 0}, .remote = {}, .to = to};
  ExportOutcome all;
  std::set<std::string> unanswered;
  for (const std::string& service : requests_.services()) {
    const auto answer = co_await requests_.ask(service, request, kRoot, kExportTimeout);
    all.exported += answer.exported;
    all.failed += answer.failed;  // among them closing ones, which end by themselves
    unanswered.insert(answer.unanswered.begin(), answer.unanswered.end());
  }
  all.unanswered.assign(unanswered.begin(), unanswered.end());
  co_return all;
}

// In the first pass new connections are accepted: most connections move while new ones
// are still served. Before the later passes the address is closed to new ones.
asio::awaitable<Result<TakeoverOutcome>> AddressGiver::move_connections(IpAddress address,
                                                                        cluster::HostInfo to,
                                                                        bool force) {
  TakeoverOutcome outcome{.host = to.host};
  CO_TRY_LET(own, find_own(address));
  std::optional<steer::SynFilter> syn_filter;
  std::size_t left_before = 0;  // number of connections that were left in the last pass
  Backoff pauses(kFirstPause, kLongestPause);
  auto give_up = Clock::time_point::max();
  for (;;) {
    const ExportOutcome exports = co_await export_connections(address, to.control_address.ip);
    outcome.moved += exports.exported;
    CO_TRY_LET(left, net::connections_at(address));
    if (left.empty() && syn_filter) break;
    if (!syn_filter || left.size() < left_before) {
      give_up = Clock::now() + kStallTimeout;
      pauses.reset();
    }
    left_before = left.size();
    if (!syn_filter) {
      CO_TRY_LET(closed, steer::SynFilter::close(address, kSynFilterLifetime));
      syn_filter.emplace(std::move(closed));
    } else if (Clock::now() > give_up) {
      if (!force) co_return not_all_moved(left, exports);
      for (const auto& each : left)
        outcome.lost.push_back(each.tuple);
      break;
    } else {
      // Handshakes complete and closing connections end, without a notification.
      co_await sleep_for(pauses.next());
    }
  }
  CO_TRY(co_await hand_over_address(own, to));
  co_return outcome;
}

struct AddressGiver::KeepOutcome {
  Result<> answer;         // the new holder's last one
  Result<bool> elsewhere;  // whether it has the address; an error if nobody knows
};

asio::awaitable<Result<>> AddressGiver::hand_over_address(HostAddress address,
                                                          cluster::HostInfo to) {
  // Until then, an answer to a probe may come from the kernel of a host whose daemon is
  // dead, and which loses the address when the Hold expires.
  const auto hold_ends = Clock::now() + kHoldReplyTimeout + kHoldLifetime;
  auto removed = co_await send(to, wire::TakeOverStep::Hold, address);
  if (removed) removed = fault::point("takeover-remove");
  const auto taken = taken_.set_aside(address.ip);
  if (removed) removed = net::remove_address(address);
  if (!removed) {
    if (taken) taken_.restore(*taken);
    // If this is lost, the other host probes, and gets an answer from us.
    (void)co_await send(to, wire::TakeOverStep::Drop, address);
    co_return removed;
  }
  // *Decided.* The connections live there, and the address is removed from here.
  const KeepOutcome outcome = co_await send_keep(address, to, hold_ends);
  if (!outcome.elsewhere) {
    // No holder is better than two. An address that was taken over is added again as soon
    // as a probe shows that nobody has it.
    if (taken) taken_.restore(*taken);
    log::error("takeover_unresolved",
               {{"address", address.ip}, {"host", to.host}, {"error", outcome.elsewhere.error()}});
    co_return fail(outcome.elsewhere.error().code,
                   "cannot find out whether {} has {}, which was removed from this host: {}",
                   to.host, to_string(address.ip), outcome.elsewhere.error().reason);
  }
  if (!*outcome.elsewhere) {
    CO_TRY(net::add_address(address, std::nullopt));
    if (taken) taken_.restore(*taken);
    spawn(connections_.services.io, "announce", announce(address));
    co_return outcome.answer;
  }
  taken_.forget(address.ip);
  disown_connections(connections_, address.ip);
  co_return Result<>();
}

// Repeats Keep until the new holder confirms it, or a probe decides who has the address,
// or the link could not be probed until some time after the Hold.
asio::awaitable<AddressGiver::KeepOutcome> AddressGiver::send_keep(HostAddress address,
                                                                   cluster::HostInfo to,
                                                                   Clock::time_point hold_ends) {
  const auto in_doubt = Clock::now() + kInDoubtAfter;
  for (;;) {
    Result<> kept = fault::point("takeover-keep");
    if (kept) kept = co_await send(to, wire::TakeOverStep::Keep, address);
    if (kept) co_return KeepOutcome(std::move(kept), true);
    if (kept.error().code == EAGAIN) {  // the other host probes the link
      co_await sleep_for(kQuickProbePause / 2);
      if (Clock::now() < in_doubt) continue;
    }
    log::warn("takeover_in_doubt",
              {{"address", address.ip}, {"host", to.host}, {"error", kept.error()}});
    if (Clock::now() > in_doubt) {
      const bool hold_has_ended = Clock::now() > hold_ends;
      auto elsewhere = co_await is_elsewhere(address);
      const bool is_over =
          elsewhere ? hold_has_ended || !*elsewhere : Clock::now() > hold_ends + kProbePatience;
      if (is_over) co_return KeepOutcome(std::move(kept), std::move(elsewhere));
    }
    co_await sleep_for(kKeepPause);
  }
}

}  // namespace sockmi::daemon
