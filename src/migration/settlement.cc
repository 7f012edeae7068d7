#include "migration/settlement.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>

#include <sockmi/sockmi.h>

#include "base/log.h"
#include "base/spawn.h"
#include "connections/foreign_rules.h"
#include "connections/home_protocol.h"
#include "connections/lifecycle.h"
#include "connections/orphaned_sockets.h"
#include "connections/redirects.h"
#include "migration/delta_files.h"
#include "migration/late_writes.h"
#include "wire/late_write.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kVerdictRetryPause{50}, kVerdictTimeout{3000};
constexpr milliseconds kRest{500};  // for one answer to the late writes

// The home of a listener that leaves must know, in this order: the connections that the
// listener accepted stay here; the others are found at the listener's new place.
asio::awaitable<void> leave_guest(World& world, ImportedConnection listener) {
  co_await adopt_accepted(world, listener.tuple.local, listener);
  finish_export(world, listener.tuple, listener.home, listener.home_control);
}

// Stops the listener for every duplicate of its descriptor. A bound socket does not send
// anything.
void forget_passive(World& world, ExportedEndpoint& one) {
  if (one.endpoint.state == SOCKMI_LISTENING) {
    (void)::shutdown(one.socket.get(), SHUT_RD);
    release(world, one.tuple.local);
  }
  if (one.guest) spawn(world.io, "leave_guest", leave_guest(world, *one.guest));
}

asio::awaitable<void> send(World& world, cluster::SelectedHost choice, Secret message) {
  co_await world.control->call(choice.host, choice.line, std::move(message), milliseconds(1000));
}

// Retries for as long as the importer waits for it.
asio::awaitable<Result<>> call_with_rest(World& world, const cluster::SelectedHost& importer,
                                         Secret message) {
  Result<> taken;
  for (const auto deadline = Clock::now() + LateWrites::kLateWriteTimeout; Clock::now() < deadline;
       co_await sleep_for(kVerdictRetryPause)) {
    auto reply = co_await world.control->call(importer.host, importer.line, message, kRest);
    auto answer = reply ? wire::read_answer(*reply) : Result<int>(std::unexpected(reply.error()));
    taken = answer ? Result<>() : std::unexpected(answer.error());
    if (reply) break;
  }
  co_return taken;
}

asio::awaitable<void> send_rest(World& world, cluster::SelectedHost importer, wire::MigrationId id,
                                FourTuple tuple, wire::FreezeDeltaT rest) {
  auto taken = co_await call_with_rest(world, importer, wire::pack_late_write(id, rest));
  if (!taken && !rest.written.empty())
    log::error("event=written_too_late connection={} bytes={} error=\"{}\"", to_string(tuple),
               rest.written.size(), to_string(taken.error()));
}

// If this is lost, the applications only get the endpoints a little later.
asio::awaitable<void> send_untouched(World& world, cluster::SelectedHost importer,
                                     std::vector<wire::MigrationId> untouched) {
  (void)co_await call_with_rest(world, importer, wire::pack_late_write(untouched));
}

// Sends what stragglers brought since the decision. Nobody has acknowledged it, so if
// this is lost, the peer sends it again.
void send_stragglers(World& world, const cluster::SelectedHost& importer, ExportedEndpoint& one) {
  if (one.finished) return;
  auto late = one.frozen->received_since(one.endpoint.tcp);
  if (!late || (late->bytes.empty() && !late->fin)) return;
  log::debug("event=stragglers connection={} bytes={}", to_string(one.tuple), late->bytes.size());
  spawn(world.io, "send",
        send(world, importer, wire::pack_straggler(straggler_of(one, std::move(*late)))));
}

// `peer_too`: resets the connection at the peer as well, if we have a descriptor.
void end_socket(World& world, ExportedEndpoint& one, bool peer_too) {
  Result<> ended;
  if (one.frozen)
    ended = peer_too ? one.frozen->reset() : one.frozen->destroy_silently();
  else if (one.adopted)
    ended = world.steering->within(one.tuple.local.ip,
                                   [&] { return net::destroy(one.tuple, one.cookie); });
  if (!ended)
    log::error("event=kill_failed connection={} error=\"{}\"", to_string(one.tuple),
               to_string(ended.error()));
  one.frozen.reset();
}

void lives_there(World& world, const cluster::SelectedHost& importer, ExportedEndpoint& one) {
  if (one.passive()) {
    forget_passive(world, one);
    if (one.adopted) end_socket(world, one, false);
    return;
  }
  seal(world, importer, std::array{&one});
  if (one.sealed) send_stragglers(world, importer, one);
  end_socket(world, one, false);
  finish_export(world, one.tuple, one.endpoint.home, one.endpoint.home_control);
}

bool lives_mute(const World& world, const ExportedEndpoint& one) {
  Result<net::TcpSocket> found = fail(ENOENT, "not looked for yet");
  (void)world.steering->within(one.tuple.local.ip, [&]() -> Result<> {
    found = world.find_socket(one.tuple);
    return {};
  });
  return found ? found->cookie == one.cookie : !is_absent(found.error());
}

// The connection lives nowhere: this host resets it at the peer, and home's kernel
// answers later segments. (The redirect is removed first, because an RST of a redirected
// connection does not leave this host.)
asio::awaitable<void> lives_nowhere(World& world, ExportedEndpoint& one) {
  if (one.redirected && one.passive())
    (void)remove_passive_redirect(world, one.tuple.local);
  else if (one.redirected)
    co_await insist_on_removal(world, std::vector<FourTuple>(1, one.tuple));
  end_socket(world, one, true);
  if (!one.guest) {
    world.table.mark_returned(one.tuple);
    co_return;
  }
  remove_foreign_rules(world, one.tuple, one.guest->home_control, world.settings.linger);
  ImportedConnection ended = *one.guest;
  ended.generation = one.endpoint.generation;
  spawn(world.io, "tell_ended", notify_ended(world, world.table.end_forwarded(ended), ended));
}

// Removes the redirects before unfreezing, so that the endpoint receives before it sends.
asio::awaitable<void> goes_on_here(World& world, ExportedEndpoint& one) {
  const Decision decision{one.cookie, one.tuple, {}, {}, 0};
  world.table.undo_decision(one.id, decision, one.guest);
  if (one.redirected && one.passive())
    (void)remove_passive_redirect(world, one.tuple.local);
  else if (one.redirected)
    co_await insist_on_removal(world, std::vector<FourTuple>(1, one.tuple));
  if (one.endpoint.state == SOCKMI_LISTENING) release(world, one.tuple.local);
  if (one.guest && one.adopted) readd_foreign_rules(world, one.tuple, one.guest->home_control);
  if (one.frozen) {
    if (auto given =
            world.steering->within(one.tuple.local.ip, [&] { return one.frozen->unfreeze(); });
        !given)
      log::error("event=give_back_failed connection={} error=\"{}\"", to_string(one.tuple),
                 to_string(given.error()));
  } else if (one.adopted && !one.passive() && lives_mute(world, one))
    leave_frozen(world, one.tuple, one.cookie, one.owner->mark);
  one.frozen.reset();
}

// The importer has not been asked yet about an endpoint that was recovered from the
// journal, so it gets some time before the endpoint counts as in doubt.
asio::awaitable<void> await_verdict(World& world, cluster::SelectedHost importer,
                                    std::shared_ptr<ExportedEndpoint> one,
                                    std::shared_ptr<CommitProgress> commitment) {
  const std::string id = wire::to_hex(one->id);
  const milliseconds patience = one->adopted ? kVerdictTimeout : milliseconds(0);
  const bool known = co_await commitment->known.wait(Clock::now() + patience);
  if (!known) {
    world.in_doubt.add(id, {.kind = "export",
                            .tuple = one->tuple,
                            .host = importer.host,
                            .since = {},
                            .decide = [commitment](Decide how) -> Result<> {
                              commitment->decide(how);
                              return {};
                            }});
    co_await commitment->known.wait();
  }
  world.in_doubt.settled(id);
  co_await settle(world, importer, *one, *commitment);
  (void)report(world, *one);
}

}  // namespace

void seal(World& world, const cluster::SelectedHost& importer,
          std::span<ExportedEndpoint* const> those) {
  std::vector<wire::MigrationId> untouched;  // nearly always all of them
  for (ExportedEndpoint* one : those) {
    if (!one->frozen || one->sealed || one->endpoint.tcp.local_ip.empty()) continue;
    one->sealed = true;
    auto rest = one->frozen->seal(one->endpoint.tcp);
    if (!rest)
      log::error("event=not_sealed connection={} error=\"{}\"", to_string(one->tuple),
                 to_string(rest.error()));
    if (!one->more) continue;
    const wire::FreezeDeltaT late = to_image(rest ? std::move(*rest) : tcp::FreezeDelta());
    if (is_in_commit_alone(late))
      spawn(world.io, "send_rest", send_rest(world, importer, one->id, one->tuple, late));
    else
      untouched.push_back(one->id);
  }
  if (!untouched.empty())
    spawn(world.io, "send_untouched", send_untouched(world, importer, std::move(untouched)));
}

asio::awaitable<void> settle(World& world, const cluster::SelectedHost& importer,
                             ExportedEndpoint& one, CommitProgress& commitment) {
  const Error& reason = commitment.reason;
  switch (commitment.outcome) {
    case Outcome::NeverThawed:
      one.result = fail(ECANCELED, "{}: {}; it goes on here", importer.host, reason.reason);
      co_await goes_on_here(world, one);
      break;
    case Outcome::Ended:
      one.result = fail(ECONNABORTED, "{}: {}", importer.host, reason.reason);
      co_await lives_nowhere(world, one);
      break;
    default: one.result = {}; lives_there(world, importer, one);
  }
  commitment.settled.set();
}

void leave_in_doubt(World& world, const cluster::SelectedHost& importer, ExportedEndpoint& one,
                    std::shared_ptr<CommitProgress> commitment) {
  auto waiting = std::make_shared<ExportedEndpoint>(std::move(one));
  one.frozen.reset();
  one.record = waiting->record;
  one.result =
      fail(EINPROGRESS, "{} does not say whether it has it; the socket stays frozen until it does",
           importer.host);
  spawn(world.io, "await_verdict",
        await_verdict(world, importer, std::move(waiting), std::move(commitment)));
}

asio::awaitable<void> insist_on_redirects(World& world, std::vector<steer::Redirect> redirects) {
  for (;;) {
    const auto is_moot = [&](const steer::Redirect& each) {
      const RemoteConnection* remote = world.table.find_remote(each.tuple);
      return !remote || remote->address != each.to;
    };
    std::erase_if(redirects, is_moot);
    if (redirects.empty()) co_return;
    const auto done = world.steering->redirect(redirects);
    if (done) co_return;
    log::error("event=redirect_not_permanent count={} error=\"{}\"", redirects.size(),
               to_string(done.error()));
    co_await sleep_for(kVerdictRetryPause);
  }
}

asio::awaitable<void> insist_on_removal(World& world, std::vector<FourTuple> tuples) {
  // The record that a connection has now may be about to end.
  const auto generation_of = [&](const FourTuple& tuple) {
    const RemoteConnection* remote = world.table.find_remote(tuple);
    return remote ? std::optional(remote->generation) : std::nullopt;
  };
  std::map<FourTuple, std::optional<std::uint64_t>> before;
  for (const FourTuple& tuple : tuples)
    before[tuple] = generation_of(tuple);
  for (;;) {
    const auto done = world.steering->remove_redirects(tuples);
    if (done) co_return;
    log::error("event=redirects_left count={} error=\"{}\"", tuples.size(),
               to_string(done.error()));
    co_await sleep_for(kVerdictRetryPause);
    // It has moved again.
    std::erase_if(tuples, [&](const FourTuple& tuple) {
      const auto now = generation_of(tuple);
      return now && now != before.at(tuple);
    });
    if (tuples.empty()) co_return;
  }
}

}  // namespace sockmi::daemon
