// Home redirects a connection to the host that holds its endpoint, and has to be notified
// when the endpoint moves on or ends. Home's daemon may not answer for a long time, while
// home's kernel continues to redirect. Therefore:
//
// - A host that has sent an endpoint on keeps its own redirect, and the duty to notify
//   home, until home has confirmed (notify_moved).
// - Home accepts a notification only from the host that it has recorded as the holder. If
//   that host has sent the endpoint on and home has not recorded this yet, home would
//   reject the new holder's notification of the end. So the new holder also notifies the
//   host from which it received the endpoint. That host removes its own redirect and
//   takes over the duty (notify_ended).
// - A message may arrive late, twice, or after a newer one. Its generation (records.h)
//   shows that: an older generation changes nothing, and the end of a generation also
//   ends the earlier ones, even for messages that arrive later (endings.h). The host that
//   has sent an endpoint on may also report that it has ended there.
// - A message that is lost for good is made up for: a home queries the holders of all its
//   redirects from time to time (ask_in_turn).
// - Duties and redirects are in the journal, so a daemon has them again after a restart.
// - Whenever a daemon starts, its host and every other host compare their records
//   (reconcile). A home asks whether what it redirects is still held. A holder reasserts
//   what it holds. A home that has lost its records redirects such a connection again if
//   the service and the address are its own, if no socket of that connection lives at
//   home, and if its own kernel still redirects it there or the administrator trusts
//   holders (claims.h).
#include "connections/home_protocol.h"

#include <sys/socket.h>

#include <algorithm>

#include "base/backoff.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/accepted.h"
#include "connections/claims.h"
#include "connections/imported.h"
#include "connections/redirects.h"
#include "context/async_event.h"
#include "steer/packet_marks.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kHomeCallTimeout{1000};
// A home queries up to kMostAStep redirects per kStep until it has queried all, and
// starts again after kRound.
constexpr milliseconds kStep{1000}, kRound{30000};
constexpr std::size_t kMostAStep = 50;

}  // namespace

// Sends a request and returns the host's answer. The outer Result is an error if there
// was no answer. While a host does not answer, only one caller at a time asks it.
asio::awaitable<Result<Result<int>>> HomeProtocol::ask(std::string host,
                                                       SocketAddress control_address,
                                                       Secret message) {
  if (!unreachable_.may_ask(host, 2 * kHomeCallTimeout))
    co_return fail(EHOSTUNREACH, "{} did not respond recently, not retrying yet", host);
  const auto reply =
      co_await services_.control->call(host, control_address, std::move(message), kHomeCallTimeout);
  if (reply) {
    if (unreachable_.erase(host)) log::info("host_reachable", {{"host", host}});
    co_return wire::read_answer(*reply);
  }
  if (unreachable_.add(host))
    log::warn("host_unreachable", {{"host", host}, {"error", reply.error()}});
  co_return std::unexpected(reply.error());
}

// True if the address belongs to this host, or to a container on it.
bool HomeProtocol::is_own(const IpAddress& ip) const {
  return services_.steering
      ->within(ip,
               [&]() -> Result<> {
                 const unique_fd socket(::socket(ip.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
                 sockaddr_storage address;
                 const socklen_t size = SocketAddress{ip, 0}.to(address);
                 if (!socket ||
                     ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
                   return fail_errno(to_string(ip));
                 return {};
               })
      .has_value();
}

// Fails if the kernel did not answer, for example for lack of descriptors: then the
// connection may live here.
Result<bool> HomeProtocol::lives_at_home(const FourTuple& tuple) const {
  Result<bool> lives = false;
  (void)services_.steering->within(tuple.local.ip, [&]() -> Result<> {
    const auto socket = services_.find_socket(tuple);
    if (socket || is_absent(socket.error())) {
      lives = socket.has_value();
    } else {
      lives = std::unexpected(socket.error());
    }
    return {};
  });
  return lives;
}

Result<> HomeProtocol::redirect_to_holder(const FourTuple& tuple, const RemoteConnection& away) {
  TRY(redirect(services_, table_, tuple, away, std::nullopt));
  table_.mark_moved(tuple, away);
  spawn(services_.io, "tell_route", notify_route(tuple));
  return {};
}

// Accepts that `from` holds an endpoint of which this host should have a record and has
// none. Returns 1.
Result<int> HomeProtocol::accept_claim(const std::string& from, const FourTuple& tuple,
                                       const IpAddress& to, const std::string& service,
                                       std::uint64_t generation) {
  if (!services_.policy.knows(service))
    return fail(EACCES, "service '{}' is not configured here", service);
  TRY(check_claim(services_, table_, from, tuple, to));
  if (!is_own(tuple.local.ip.unmapped())) {
    return fail(EACCES, "address {} does not belong to {}", to_string(tuple.local.ip),
                services_.settings.host);
  }
  TRY_LET(lives, lives_at_home(tuple));
  if (lives) return fail(EACCES, "{} lives here", to_string(tuple));
  const RemoteConnection away{service,
                              from,
                              to,
                              services_.settings.host,
                              services_.settings.control_address(),
                              services_.steering->in_other_namespace(tuple.local.ip),
                              generation,
                              {}};
  TRY(redirect_to_holder(tuple, away));
  // A redirect found in the kernel proves one claim only.
  table_.forget_unexplained_redirect(tuple);
  log::warn("redirect_restored", {{"connection", tuple}, {"service", service}, {"host", from}});
  return 1;
}

// Removes the record of a connection that has ended. Its redirect stays a little longer,
// because the last holder may be in TIME_WAIT. A new connection with the same addresses
// and ports is home's own.
Result<> HomeProtocol::forget(const FourTuple& tuple, std::uint64_t generation) {
  const RemoteConnection away = *table_.find_remote(tuple);
  if (is_passive(tuple)) {
    TRY(redirect(services_, table_, tuple, away, services_.settings.linger));
  } else {
    const steer::Redirect last{tuple, away.address, services_.settings.linger, true};
    TRY(services_.steering->redirect({&last, 1}));
  }
  const auto ended = table_.end_remote(tuple, generation);
  if (ended.notice != 0)
    spawn(services_.io, "tell_ended", notify_ended(ended.notice, ended.connection));
  return {};
}

asio::awaitable<void> HomeProtocol::reassert_held(std::string host, SocketAddress control_address) {
  std::vector<ImportedConnection> those;
  for (const auto& [cookie, imported] : table_.imported())
    if (imported.home == host) those.push_back(imported);
  for (const ImportedConnection& imported : those) {
    const auto answer = co_await ask(
        host, control_address,
        wire::pack_moved(imported.tuple, services_.settings.address_for(imported.tuple.local.ip),
                         services_.settings.host, imported.service, imported.generation));
    if (!answer) co_return;  // repeated when that host starts again
    if (!*answer) {
      ++services_.counters.rejected;
      log::warn("claim_rejected_by_home",
                {{"connection", imported.tuple}, {"home", host}, {"error", answer->error()}});
    } else if (**answer == 1) {
      ++services_.counters.reasserted;
      log::warn("claim_accepted_by_home", {{"connection", imported.tuple}, {"home", host}});
    }
  }
}

void HomeProtocol::note_unheard(const FourTuple& tuple, const RemoteConnection& away,
                                bool unheard) {
  if (!table_.set_unheard(tuple, unheard)) return;
  if (unheard) {
    log::warn("peer_unheard_at_holder", {{"connection", tuple}, {"host", away.host}});
  } else {
    log::info("peer_heard_at_holder", {{"connection", tuple}, {"host", away.host}});
  }
}

// True if redirected packets reach the holder through a router. They then have the
// holder's address as their destination, and the holder has to be notified of that.
bool HomeProtocol::goes_by_router(const RemoteConnection& away) const {
  if (away.container) return false;
  const auto routed = services_.steering->own().is_routed(away.address);
  return routed && *routed;
}

// Queries the holder of a redirect. Returns false if the holder does not answer.
asio::awaitable<bool> HomeProtocol::ask_about(FourTuple tuple, RemoteConnection away,
                                              SocketAddress control_address) {
  const auto answer = co_await ask(
      away.host, control_address,
      wire::pack_query_holder(tuple, away.service, services_.settings.control_address(),
                              away.generation, goes_by_router(away)));
  if (!answer) co_return false;
  const RemoteConnection* now = table_.find_remote(tuple);
  if (!*answer || !now || *now != away) co_return true;
  if (**answer != 0) {
    note_unheard(tuple, away, **answer == 2);
    co_return true;
  }
  // Otherwise it is returning just now, or will be asked about again.
  if (const auto lives = lives_at_home(tuple); !lives || *lives) co_return true;
  log::warn("holder_lost_connection", {{"connection", tuple}, {"host", away.host}});
  if (auto done = forget(tuple); !done)
    log::error("redirect_remove_failed", {{"connection", tuple}, {"error", done.error()}});
  co_return true;
}

asio::awaitable<void> HomeProtocol::verify_holders(std::string host,
                                                   SocketAddress control_address) {
  std::vector<std::pair<FourTuple, RemoteConnection>> those;
  for (const auto& each : table_.remote())
    if (each.second.host == host) those.push_back(each);
  for (const auto& [tuple, away] : those)
    if (!co_await ask_about(tuple, away, control_address)) co_return;
}

asio::awaitable<void> HomeProtocol::compare(std::string host, SocketAddress control_address) {
  unreachable_.erase(host);
  // A listener is redirected to its host by name. Only now are that host's addresses
  // known for certain.
  for (const auto& [tuple, away] : table_.remote()) {
    if (is_passive(tuple) && away.host == host) {
      if (auto redirected = redirect_passive(services_, table_, tuple.local, host); !redirected) {
        log::error("listener_redirect_failed",
                   {{"listener", tuple.local}, {"host", host}, {"error", redirected.error()}});
      }
    }
  }
  co_await reassert_held(host, control_address);
  co_await verify_holders(host, control_address);
}

Result<int> HomeProtocol::moved(const std::string& from, const FourTuple& tuple,
                                const IpAddress& to, const std::string& host,
                                const std::string& service, std::uint64_t generation) {
  const RemoteConnection* before = table_.find_remote(tuple);
  if (!before) {
    if (table_.has_ended(tuple, generation)) return fail(ENOENT, "{} has ended", to_string(tuple));
    if (const RemoteConnection* listener = accepted_there(services_, table_, from, tuple)) {
      TRY(check_room(table_));
      TRY_LET(lives, lives_at_home(tuple));
      if (lives) return fail(EACCES, "{} lives here", to_string(tuple));
      const RemoteConnection away{listener->service,
                                  from,
                                  to,
                                  services_.settings.host,
                                  services_.settings.control_address(),
                                  listener->container,
                                  generation,
                                  {}};
      TRY(redirect_to_holder(tuple, away));
      return 0;
    }
    if (from == host && !service.empty()) return accept_claim(from, tuple, to, service, generation);
  }
  if (!before || before->home != services_.settings.host)
    return fail(ENOENT, "{} has not moved", to_string(tuple));
  // The connection still lives at the same holder, whose address has changed.
  const bool readdressed = from == host && before->host == host && before->address != to &&
                           generation == before->generation;
  // The message is outdated, or a repetition.
  if (generation != 0 && generation <= before->generation && !readdressed) return 0;
  if (before->host == host && before->address == to && (generation == 0 || before->host != from))
    return 0;
  if (before->host != from) return fail(EACCES, "{} does not hold {}", from, to_string(tuple));
  RemoteConnection away = *before;
  away.host = host;
  away.address = to;
  away.generation = generation;
  away.told_by = from;
  TRY(redirect_to_holder(tuple, away));
  return 0;
}

Result<> HomeProtocol::ended(const std::string& from, const FourTuple& tuple,
                             std::uint64_t generation) {
  const RemoteConnection* away = table_.find_remote(tuple);
  // There is no record, or the message is a repetition.
  if (!away) return fail(ENOENT, "{} has not moved", to_string(tuple));
  if (away->host != from && (generation == 0 || away->told_by != from))
    return fail(EACCES, "{} does not hold {}", from, to_string(tuple));
  // The message is about an earlier stay there.
  if (generation != 0 && generation < away->generation) return {};
  return forget(tuple, generation);
}

// True if the decision that this endpoint moves is not settled yet.
bool HomeProtocol::is_leaving(const FourTuple& tuple) const {
  return std::ranges::any_of(table_.journal().decisions(), [&](const auto& each) {
    return each.second.tuple.unmapped() == tuple.unmapped();
  });
}

Result<int> HomeProtocol::query_holder(const std::string& from, const FourTuple& tuple,
                                       const std::string& service,
                                       const SocketAddress& control_address,
                                       std::uint64_t generation, bool routed) {
  if (table_.find_remote(tuple)) return 1;
  const auto socket = services_.find_socket(tuple);
  // Home would take "not held" for the end of the connection.
  if (!socket && !is_absent(socket.error())) return std::unexpected(socket.error());
  const auto& all = table_.imported();
  auto imported = socket ? all.find(socket->cookie) : all.end();
  // A socket that is only bound cannot be found by its address.
  if (imported == all.end() && is_passive(tuple)) {
    imported = std::ranges::find_if(
        all, [&](const auto& each) { return each.second.tuple.unmapped() == tuple.unmapped(); });
  }
  if (imported != all.end()) {
    if (routed && imported->second.home == from)
      rules_.comes_by_router(imported->second.tuple, imported->second.home_control);
    return 1;
  }
  if (!socket) return 0;
  // It is about to leave, or in doubt. A socket without a peer has no mark then.
  if (socket->mark == steer::kFreezeMark || is_leaving(tuple)) return 1;
  if (is_own(tuple.local.ip.unmapped())) return 0;
  if (!services_.policy.knows(service))
    return fail(EACCES, "service '{}' is not configured here", service);
  // The connection lives here, and this host has lost its record of it.
  rules_.readd(tuple, control_address);
  if (routed) rules_.comes_by_router(tuple, control_address);
  add_imported(table_, rules_, socket->cookie,
               {tuple, service, from, control_address, from, control_address, generation});
  log::warn("imported_restored", {{"connection", tuple}, {"home", from}});
  return 1;
}

asio::awaitable<void> HomeProtocol::ask_in_turn() {
  for (FourTuple last;;) {
    const auto& remote = table_.remote();
    if (remote.upper_bound(last) == remote.end()) {
      last = {};
      co_await sleep_for(kRound);
    }
    co_await sleep_for(kStep);
    for (std::size_t some = kMostAStep; some > 0; --some) {
      const auto it = remote.upper_bound(last);
      if (it == remote.end()) break;
      const auto [tuple, away] = *it;
      last = tuple;
      const auto hosts = services_.discovery->hosts();
      const auto holder = std::ranges::find(hosts, away.host, &cluster::HostInfo::host);
      if (holder == hosts.end()) continue;
      const SocketAddress control_address = holder->control_address;
      (void)co_await ask_about(tuple, away, control_address);
    }
  }
}

// A holder that does not answer now is notified later by ask_in_turn().
asio::awaitable<void> HomeProtocol::notify_route(FourTuple tuple) {
  const RemoteConnection* found = table_.find_remote(tuple);
  if (!services_.discovery || !found || found->home != services_.settings.host ||
      !goes_by_router(*found))
    co_return;
  const RemoteConnection away = *found;
  for (Backoff pauses(milliseconds(50), kMaxBackoff); !pauses.is_longest();) {
    const auto holder = services_.discovery->find_host(away.host);
    if (!holder) co_return;
    const SocketAddress control_address = holder->control_address;
    if (co_await ask_about(tuple, away, control_address)) co_return;
    co_await sleep_for(pauses.next());
    const RemoteConnection* now = table_.find_remote(tuple);
    if (!now || *now != away) co_return;
  }
}

asio::awaitable<void> HomeProtocol::notify_routes(std::vector<IpAddress> hosts) {
  std::vector<FourTuple> those;
  for (const auto& [tuple, away] : table_.remote())
    if (std::ranges::find(hosts, away.address) != hosts.end()) those.push_back(tuple);
  for (const FourTuple& tuple : those)
    co_await notify_route(tuple);
}

// A host that reports its start repeatedly gets one comparison at a time.
asio::awaitable<void> HomeProtocol::reconcile(std::string host, SocketAddress control_address) {
  const auto [it, first] = comparing_.try_emplace(host);
  it->second = control_address;
  if (!first) co_return;
  for (;;) {
    const auto now = std::exchange(comparing_.at(host), std::nullopt);
    if (!now) break;
    co_await compare(host, *now);
  }
  comparing_.erase(host);
}

}  // namespace sockmi::daemon
