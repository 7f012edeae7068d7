#include "migration/settlement.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>

#include <sockmi/sockmi.h>

#include "base/log.h"
#include "base/spawn.h"
#include "connections/lifecycle.h"
#include "connections/redirects.h"
#include "migration/delta_files.h"
#include "migration/frozen_sockets.h"
#include "migration/late_writes.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kVerdictRetryPause{50}, kVerdictTimeout{3000};
constexpr milliseconds kLateWriteAnswerTimeout{500};  // for one answer to the late writes

// The home of a listener that leaves must know, in this order: the connections that the
// listener accepted stay here; the others are found at the listener's new place. If the
// listener goes home, home has been notified before the decision (accept_queue.h).
asio::awaitable<void> finish_listener_export(Connections& connections,
                                             ImportedConnection listener) {
  co_await connections.homes.notify_accepted(listener.tuple);
  finish_export(connections, listener.tuple, listener.home, listener.home_control);
}

// Stops the listener for every duplicate of its descriptor. A bound socket does not send
// anything.
void stop_listening(const Services& services, ExportedEndpoint& one) {
  if (one.endpoint.state != SOCKMI_LISTENING) return;
  (void)::shutdown(one.socket.get(), SHUT_RD);
  release(services, one.tuple.local);
}

void forget_passive(Connections& connections, ExportedEndpoint& one) {
  stop_listening(connections.services, one);
  if (one.imported) {
    spawn(connections.services.io, "finish_listener_export",
          finish_listener_export(connections, *one.imported));
  } else {
    spawn(connections.services.io, "tell_route", connections.homes.notify_route(one.tuple));
  }
}

asio::awaitable<void> send(const Services& services, cluster::SelectedHost choice, Secret message) {
  co_await services.control->call(choice.host, choice.control_address, std::move(message),
                                  milliseconds(1000));
}

// Retries for as long as the importer waits for it.
asio::awaitable<Result<>> call_with_late_writes(const Services& services,
                                                const cluster::SelectedHost& importer,
                                                Secret message) {
  Result<> taken;
  for (const auto deadline = Clock::now() + LateWrites::kLateWriteTimeout; Clock::now() < deadline;
       co_await sleep_for(kVerdictRetryPause)) {
    auto reply = co_await services.control->call(importer.host, importer.control_address, message,
                                                 kLateWriteAnswerTimeout);
    auto answer = wire::answer_of(reply);
    taken = answer ? Result<>() : std::unexpected(answer.error());
    if (reply) break;
  }
  co_return taken;
}

asio::awaitable<void> send_late_writes(const Services& services, cluster::SelectedHost importer,
                                       wire::MigrationId id, FourTuple tuple,
                                       wire::FreezeDeltaT delta) {
  auto taken = co_await call_with_late_writes(services, importer, wire::pack_late_write(id, delta));
  if (!taken && !delta.written.empty()) {
    log::error("late_write_refused",
               {{"connection", tuple}, {"bytes", delta.written.size()}, {"error", taken.error()}});
  }
}

// If this is lost, the applications only get the endpoints a little later.
asio::awaitable<void> send_untouched(const Services& services, cluster::SelectedHost importer,
                                     std::vector<wire::MigrationId> untouched) {
  (void)co_await call_with_late_writes(services, importer, wire::pack_late_write(untouched));
}

// Sends what stragglers brought since the decision. Nobody has acknowledged it, so if
// this is lost, the peer sends it again.
void send_stragglers(const Services& services, const cluster::SelectedHost& importer,
                     ExportedEndpoint& one) {
  if (one.finished) return;
  auto delta = one.frozen->received_since(one.endpoint.tcp);
  if (!delta || (delta->bytes.empty() && !delta->fin)) return;
  log::debug("stragglers_sent", {{"connection", one.tuple}, {"bytes", delta->bytes.size()}});
  spawn(services.io, "send",
        send(services, importer, wire::pack_straggler(straggler_of(one, std::move(*delta)))));
}

// `peer_too`: resets the connection at the peer as well, if we have a descriptor.
void end_socket(const Services& services, ExportedEndpoint& one, bool peer_too) {
  Result<> ended;
  if (one.frozen) {
    ended = peer_too ? one.frozen->reset() : one.frozen->destroy_silently();
  } else if (one.adopted && !one.ended_with_boot()) {
    ended = services.steering->within(one.tuple.local.ip,
                                      [&] { return net::destroy(one.tuple, one.cookie); });
  }
  if (!ended)
    log::error("socket_destroy_failed", {{"connection", one.tuple}, {"error", ended.error()}});
  one.frozen.reset();
}

void settle_moved(Connections& connections, const cluster::SelectedHost& importer,
                  ExportedEndpoint& one) {
  if (one.passive()) {
    forget_passive(connections, one);
    if (one.adopted) end_socket(connections.services, one, false);
    return;
  }
  seal(connections.services, importer, std::array{&one});
  if (one.sealed) send_stragglers(connections.services, importer, one);
  end_socket(connections.services, one, false);
  finish_export(connections, one.tuple, one.endpoint.home, one.endpoint.home_control);
}

bool socket_may_exist(const Services& services, const ExportedEndpoint& one) {
  Result<net::TcpSocket> found = fail(ENOENT, "socket was not looked for yet");
  (void)services.steering->within(one.tuple.local.ip, [&]() -> Result<> {
    found = services.find_socket(one.tuple);
    return {};
  });
  return found ? found->cookie == one.cookie : !is_absent(found.error());
}

// The connection lives nowhere: this host resets it at the peer, and home's kernel
// answers later segments. (The redirect is removed first, because an RST of a redirected
// connection does not leave this host.)
asio::awaitable<void> settle_ended(Connections& connections, ExportedEndpoint& one) {
  if (one.redirected && one.passive()) {
    stop_redirecting(connections.services, connections.table, one.tuple);
  } else if (one.redirected) {
    co_await retry_removal(connections.services, connections.table,
                           std::vector<FourTuple>(1, one.tuple));
  }
  stop_listening(connections.services, one);
  end_socket(connections.services, one, true);
  // The record is a newer one if the connection has moved again while its redirect could
  // not be removed.
  const RemoteConnection* now = connections.table.find_remote(one.tuple);
  if (now && now->generation != one.endpoint.generation) co_return;
  if (!one.imported) {
    connections.table.mark_returned(one.tuple);
    co_return;
  }
  connections.rules.remove(one.tuple, one.imported->home_control);
  ImportedConnection ended = *one.imported;
  ended.generation = one.endpoint.generation;
  spawn(connections.services.io, "tell_ended",
        connections.homes.notify_ended(connections.table.end_forwarded(ended), ended));
}

// Removes the redirects before unfreezing, so that the endpoint receives before it sends.
asio::awaitable<void> settle_never_thawed(Connections& connections, ExportedEndpoint& one) {
  const Decision decision{one.cookie, one.tuple, {}, {}, 0};
  connections.table.undo_decision(one.id, decision, one.imported);
  if (one.redirected && one.passive()) {
    stop_redirecting(connections.services, connections.table, one.tuple);
  } else if (one.redirected) {
    co_await retry_removal(connections.services, connections.table,
                           std::vector<FourTuple>(1, one.tuple));
  }
  if (one.endpoint.state == SOCKMI_LISTENING) release(connections.services, one.tuple.local);
  if (one.imported && one.adopted) connections.rules.readd(one.tuple, one.imported->home_control);
  if (one.frozen) {
    if (auto given = connections.services.steering->within(one.tuple.local.ip,
                                                           [&] { return one.frozen->unfreeze(); });
        !given)
      log::error("socket_unfreeze_failed", {{"connection", one.tuple}, {"error", given.error()}});
  } else if (one.adopted && !one.passive() && !one.ended_with_boot() &&
             socket_may_exist(connections.services, one))
    leave_frozen(connections, one.tuple, one.cookie, one.owner->mark);
  one.frozen.reset();
}

// True if the importer has sent the connection on, and this host is its home and knows
// that: then it thawed there, whatever the importer has forgotten since. It lives at a
// third host, or at the importer once more, where another generation of it thawed.
bool has_moved_on(const Connections& connections, const cluster::SelectedHost& importer,
                  const ExportedEndpoint& one) {
  const RemoteConnection* now = connections.table.find_remote(one.tuple);
  return now && (now->host != importer.host || now->generation != one.endpoint.generation);
}

// True if a later generation of the connection lives here: what the importer says of the
// earlier one does not matter any more. That takes a socket that ended since an earlier
// daemon's decision, because two sockets cannot have the same addresses and ports.
bool is_back(const Connections& connections, const ExportedEndpoint& one) {
  if (!one.adopted || one.passive()) return false;
  return std::ranges::any_of(connections.table.imported(), [&](const auto& each) {
    const ImportedConnection& imported = each.second;
    return imported.generation > one.endpoint.generation &&
           imported.tuple.unmapped() == one.tuple.unmapped();
  });
}

// A listener has no state that could have ended at the importer. If this host is its
// home, it gets its clients again. (Another home removed its redirect before the thaw.)
// A connection cannot continue here after the end of this host's boot.
Outcome outcome_here(Outcome there, const ExportedEndpoint& one) {
  if (there == Outcome::Ended && one.passive() && !one.imported) return Outcome::NeverThawed;
  const bool is_gone = one.ended_with_boot() && !(one.passive() && !one.imported);
  return there == Outcome::NeverThawed && is_gone ? Outcome::Ended : there;
}

// The importer has not been asked yet about an endpoint that was recovered from the
// journal, so it gets some time before the endpoint counts as in doubt.
asio::awaitable<void> await_verdict(Connections& connections, cluster::SelectedHost importer,
                                    std::shared_ptr<ExportedEndpoint> one,
                                    std::shared_ptr<CommitProgress> commitment) {
  const std::string id = wire::to_hex(one->id);
  const milliseconds patience = one->adopted ? kVerdictTimeout : milliseconds(0);
  const bool known = co_await commitment->known.wait(Clock::now() + patience);
  if (!known) {
    connections.services.in_doubt.add(id, {.kind = "export",
                                           .tuple = one->tuple,
                                           .host = importer.host,
                                           .since = {},
                                           .decide = [commitment](Decide how) -> Result<> {
                                             commitment->decide(how);
                                             return {};
                                           }});
    co_await commitment->known.wait();
  }
  connections.services.in_doubt.settled(id);
  co_await settle(connections, importer, *one, *commitment);
  (void)report(connections.services, *one);
}

}  // namespace

void seal(const Services& services, const cluster::SelectedHost& importer,
          std::span<ExportedEndpoint* const> those) {
  std::vector<wire::MigrationId> untouched;  // nearly always all of them
  for (ExportedEndpoint* one : those) {
    if (!one->frozen || one->sealed || one->endpoint.tcp.local_ip.empty()) continue;
    one->sealed = true;
    auto rest = one->frozen->seal(one->endpoint.tcp);
    if (!rest)
      log::error("socket_seal_failed", {{"connection", one->tuple}, {"error", rest.error()}});
    if (!one->more) continue;
    const wire::FreezeDeltaT delta = to_image(rest ? std::move(*rest) : tcp::FreezeDelta());
    if (is_in_commit_alone(delta)) {
      spawn(services.io, "send_late_writes",
            send_late_writes(services, importer, one->id, one->tuple, delta));
    } else {
      untouched.push_back(one->id);
    }
  }
  if (!untouched.empty())
    spawn(services.io, "send_untouched", send_untouched(services, importer, std::move(untouched)));
}

asio::awaitable<void> settle(Connections& connections, const cluster::SelectedHost& importer,
                             ExportedEndpoint& one, CommitProgress& commitment) {
  const Error& reason = commitment.reason;
  if (is_back(connections, one)) {
    log::info("connection_came_back", {{"connection", one.tuple}, {"host", importer.host}});
    end_socket(connections.services, one, false);
    commitment.settled.set();
    co_return;
  }
  const bool outdated =
      commitment.outcome != Outcome::Lives && has_moved_on(connections, importer, one);
  if (outdated) {
    log::warn("outcome_outdated",
              {{"connection", one.tuple}, {"host", importer.host}, {"error", reason}});
  }
  switch (outdated ? Outcome::Lives : outcome_here(commitment.outcome, one)) {
    case Outcome::NeverThawed:
      one.result =
          fail(ECANCELED, "{}: {}; the endpoint continues here", importer.host, reason.reason);
      co_await settle_never_thawed(connections, one);
      break;
    case Outcome::Ended:
      one.result = fail(ECONNABORTED, "{}: {}", importer.host, reason.reason);
      co_await settle_ended(connections, one);
      break;
    default: one.result = {}; settle_moved(connections, importer, one);
  }
  commitment.settled.set();
}

void leave_in_doubt(Connections& connections, const cluster::SelectedHost& importer,
                    ExportedEndpoint& one, std::shared_ptr<CommitProgress> commitment) {
  auto waiting = std::make_shared<ExportedEndpoint>(std::move(one));
  one.frozen.reset();  // NOLINT(bugprone-use-after-move): a moved optional keeps its value
  one.record = waiting->record;
  one.result =
      fail(EINPROGRESS, "{} does not report the outcome; the socket stays frozen until it does",
           importer.host);
  spawn(connections.services.io, "await_verdict",
        await_verdict(connections, importer, std::move(waiting), std::move(commitment)));
}

}  // namespace sockmi::daemon
