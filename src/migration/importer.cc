// The importer's half of a migration.
//
// Invariant: from PREPARE to COMMIT or ABORT an endpoint is in doubt, because only the
// exporter's journal knows the decision. The importer keeps the endpoint frozen and asks
// until it gets an answer. Guessing would lead to two live endpoints, or to none.
//
// Before an endpoint thaws, the thaw is in the journal. So an exporter that asks after
// this daemon's death learns whether its own endpoint may continue.
#include "migration/importer.h"

#include <algorithm>

#include <boost/asio/post.hpp>

#include "base/backoff.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/claims.h"
#include "connections/imported.h"
#include "connections/redirects.h"
#include "context/async_event.h"
#include "migration/export_state.h"
#include "migration/marks.h"
#include "migration/privileges.h"
#include "net/addresses.h"
#include "steer/packet_marks.h"
#include "tcp/inject.h"
#include "tcp/listener.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"

namespace sockmi::daemon {
// Refuses a connection to one of this host's own addresses: its packets would return to
// the host that sent them, and the kernel drops packets with its own source address as
// forged.
Result<> Importer::check_peer(const FourTuple& tuple) const {
  if (tuple.remote.ip.any() ||
      tuple.remote.ip.unmapped() != services_.settings.address_for(tuple.remote.ip))
    return {};
  return fail(ENOTSUP, "cannot import a connection whose peer is {} itself",
              services_.settings.host);
}

Result<cluster::OfferReply> Importer::can_accept(const cluster::Offer& offer) {
  TRY(fault::point("reserve-refused"));
  if (services_.stopping)
    return fail(ECONNREFUSED, "daemon of {} is stopping", services_.settings.host);
  if (draining_ && !returns_unclaimed(offer))
    return fail(ECONNREFUSED, "{} is draining", services_.settings.host);
  if (!services_.policy.knows(offer.service))
    return fail(ECONNREFUSED, "service '{}' is not configured here", offer.service);
  // Of several endpoints, the offer has only the first one's addresses; PREPARE reports
  // the others.
  if (offer.count == 1) TRY(check_peer(offer.tuple));
  TRY(table_.reserve(offer.count));  // the journal must also record what arrives
  if (import_queue_.free_slots(offer.state) < offer.count)
    return fail(ENOBUFS, "import queue is full");
  const auto waiting = import_queue_.watching(offer.service, offer.owner);
  if (waiting == 0 && services_.settings.require_importer) {
    return fail(ESRCH, "no permitted application on {} imports service '{}'",
                services_.settings.host, offer.service);
  }
  double load[1] = {0};
  (void)::getloadavg(load, 1);
  return cluster::OfferReply{
      .waiting_importers = static_cast<std::uint32_t>(waiting),
      .free_slots = static_cast<std::uint32_t>(import_queue_.free_slots(offer.state)),
      .load_percent = static_cast<std::uint32_t>(load[0] * 100)};
}

Result<> Importer::reserve(const std::string& host, const cluster::Offer& offer) {
  auto acceptable = can_accept(offer);
  if (!acceptable) return pass(std::move(acceptable));
  services_.low_latency.stand_by();
  const auto batch = std::make_shared<Reservations::Batch>(offer);
  std::vector<wire::MigrationId> made;
  Result<> done;
  for (std::uint32_t i = 0; i < offer.count && done; ++i) {
    const auto id = cluster::member(offer.id, i);
    const auto added = reserved_.add(id, host, batch);
    if (!added) done = std::unexpected(added.error());
    if (!added || !*added) continue;  // or confirmed twice
    made.push_back(id);
    done = import_queue_.reserve(id, offer.state);
  }
  if (!done) {
    for (const auto& id : made)
      release(id);
  } else if (!made.empty()) {
    spawn(services_.io, "expire", expire(batch, std::move(made)));
  }
  return done;
}

asio::awaitable<void> Importer::expire(std::shared_ptr<Reservations::Batch> batch,
                                       std::vector<wire::MigrationId> ids) {
  const auto patience = services_.settings.freeze_timeout;
  while (Clock::now() < batch->prolonged + patience)
    co_await sleep_for(std::chrono::ceil<milliseconds>(batch->prolonged + patience - Clock::now()));
  for (const auto& id : ids)
    if (reserved_.contains(id)) release(id);
}

void Importer::release(const wire::MigrationId& which) {
  const wire::MigrationId id = which;  // `which` may refer to the one in reserved_
  reserved_.erase(id);
  pre_copies_.forget(id);
  import_queue_.release(id);
}

void Importer::refuse_reserved() {
  while (!reserved_.empty())
    release(reserved_.first());
}

Result<> Importer::receive_pre_copy(const wire::MigrationId& id, const std::string& host,
                                    ByteView bytes) {
  TRY(reserved_.check(id, host));
  reserved_.prolong(id);
  TRY(fault::point("pre-copy-refused"));
  return pre_copies_.add(id, host, bytes);
}

Result<> Importer::standby(const std::string& host) {
  if (reserved_.of(host) == 0) return fail(ENOBUFS, "no slot is reserved");
  services_.low_latency.begin();
  return {};
}

Result<> Importer::prepare(const wire::MigrationId& id, const std::string& host,
                           const SocketAddress& control_address, wire::Endpoint endpoint,
                           std::uint32_t pre_copied) {
  if (outcomes_.of(host, id) != Outcome::Unknown || prepared_.contains(id))
    return fail(EALREADY, "endpoint was prepared before");
  TRY(reserved_.check(id, host));
  TRY(check_peer(tuple_of(endpoint.tcp)));
  TRY(table_.may_come(host, tuple_of(endpoint.tcp)));
  if (comes_home(endpoint)) TRY(may_return(services_, table_, host, tuple_of(endpoint.tcp)));
  TRY(reserved_.admit(id, host, endpoint));
  TRY(pre_copies_.put_before(endpoint.tcp, pre_copied, id, host));
  PreparedEndpoint prepared{{}, {}, std::move(endpoint), host, control_address, 0, {}};
  const auto restored = restore(prepared);
  reserved_.erase(id);
  if (!restored) {
    import_queue_.release(id);
    return restored;
  }
  // A firewall of this host must know the connection before the thaw. The exporter
  // already has our answer while this runs.
  asio::post(services_.io, [this, tuple = tuple_of(prepared.endpoint.tcp),
                            established = prepared.endpoint.tcp.state != tcp::kSynSent] {
    if (auto tracked = is_passive(tuple)
                           ? Result<>()
                           : services_.steering->at(tuple.local.ip).track(tuple, established);
        !tracked)
      log::warn("conntrack_add_failed", {{"connection", tuple}, {"error", tracked.error()}});
  });
  prepared_.emplace(id, std::move(prepared));
  spawn(services_.io, "resolve_doubt", resolve_in_doubt(id));
  return {};
}

// Creates the frozen socket. From here on the connection's packets find it: at home they
// bypass the redirect from here on (begin_return(); the redirect is in force again if
// this daemon dies), elsewhere they arrive once the exporter redirects them.
Result<> Importer::restore(PreparedEndpoint& prepared) {
  const auto& [endpoint, home] =
      std::pair<wire::Endpoint&, bool>(prepared.endpoint, comes_home(prepared.endpoint));
  const FourTuple tuple = tuple_of(endpoint.tcp);
  if (!home) TRY(rules_.add(tuple, endpoint.home_control));
  drop_our_marks(endpoint.tcp);
  const auto make = [&]() -> Result<> {
    TRY(fault::point("restore"));
    if (is_passive(endpoint.state)) {
      TRY_LET(socket, tcp::restore_passive(endpoint.tcp, !home));
      prepared.passive = std::move(socket);
    } else {
      TRY_LET(socket, tcp::RestoredSocket::restore(endpoint.tcp, kMarks, !home));
      prepared.socket.emplace(std::move(socket));
      // A slow start is not a reason to fail the migration.
      if (auto carried = congestion_.carry(prepared.socket->fd(), endpoint.tcp); !carried)
        log::warn("congestion_window_lost", {{"connection", tuple}, {"error", carried.error()}});
      if (home) {
        TRY(services_.steering->at(tuple.local.ip)
                .begin_return(tuple, services_.settings.freeze_timeout));
      }
    }
    return fault::point("prepared-reply");
  };
  auto done = home ? services_.steering->within(tuple.local.ip, make) : make();
  if (done) {
    auto cookie = tcp::cookie_of(prepared.socket ? prepared.socket->fd() : prepared.passive.get());
    if (cookie) {
      prepared.cookie = *cookie;
    } else {
      done = pass(std::move(cookie));
    }
  }
  if (!done && !home) rules_.remove(tuple, endpoint.home_control);
  return done;
}

Result<Importer::PreparedEndpoint*> Importer::find(const wire::MigrationId& id,
                                                   const std::string& host) {
  const auto it = prepared_.find(id);
  if (it == prepared_.end()) return fail(ENOENT, "endpoint is not prepared here");
  if (it->second.host != host) return fail(EACCES, "endpoint belongs to another host");
  return &it->second;
}

std::vector<Result<>> Importer::commit(const std::vector<wire::Committed>& endpoints,
                                       const std::string& host) {
  std::vector<Result<>> verdicts;
  // Their packets may have been redirected until now: by home, or by a host that had the
  // connection before.
  std::vector<FourTuple> here;
  std::vector<std::pair<wire::MigrationId, std::uint64_t>> thawing;
  for (const auto& [id, delta] : endpoints)
    if (const auto prepared = find(id, host)) thawing.emplace_back(id, (*prepared)->cookie);
  auto may_thaw = fault::point("before-thaw");
  if (may_thaw && !thawing.empty()) may_thaw = outcomes_.thaw(host, thawing);
  (void)fault::point("thaw-written");  // we may die
  for (const auto& [id, cookie] : thawing) {
    const wire::Endpoint& endpoint = prepared_.at(id).endpoint;
    const FourTuple tuple = tuple_of(endpoint.tcp);
    if (!may_thaw) continue;
    if (const RemoteConnection* away = table_.find_remote(tuple)) prepared_.at(id).was_away = *away;
    // Before its redirect is removed: a delayed message of another host must not install
    // the redirect again.
    table_.mark_returned(tuple);
    if (!is_passive(tuple)) {
      here.push_back(tuple);
    } else if (comes_home(endpoint)) {
      stop_redirecting(services_, table_, tuple);
    }
  }
  if (auto removed = here.empty() ? Result<>() : services_.steering->remove_redirects(here);
      !removed)
    spawn(services_.io, "retry_removal", retry_removal(services_, table_, std::move(here)));
  verdicts.reserve(endpoints.size());
  for (const auto& [id, delta] : endpoints)
    verdicts.push_back(verdict(id, delta, host, may_thaw));
  (void)fault::point("thawed");
  if (prepared_.empty() && reserved_.empty()) services_.low_latency.end();
  return verdicts;
}

Result<> Importer::verdict(const wire::MigrationId& id, const wire::FreezeDeltaT& delta,
                           const std::string& host, const Result<>& may_thaw) {
  if (prepared_.contains(id)) {
    TRY(find(id, host));
    if (may_thaw) return thaw(id, delta);
    discard(id, to_string(may_thaw.error()));
    outcomes_.correct(host, id, Outcome::NeverThawed);
    return fail(verdict_on(Outcome::NeverThawed).error().code, "{}", may_thaw.error().reason);
  }
  return verdict_on(outcomes_.give_up(host, id));
}

Result<> Importer::thaw(const wire::MigrationId& id, const wire::FreezeDeltaT& delta) {
  PreparedEndpoint& prepared = prepared_.at(id);
  unique_fd socket = std::move(prepared.passive);
  const FourTuple tuple = tuple_of(prepared.endpoint.tcp);
  const auto wake = [&]() -> Result<> {
    TRY(prepared.socket->receive(from_image(delta)));
    TRY_LET(live, std::move(*prepared.socket).thaw());
    socket = std::move(live);
    return {};
  };
  if (const auto woken =
          prepared.socket ? services_.steering->within(tuple.local.ip, wake) : Result<>();
      !woken) {
    const Outcome outcome = prepared.socket->is_frozen() ? Outcome::NeverThawed : Outcome::Ended;
    log::error("thaw_failed", {{"migration", wire::to_hex(id)},
                               {"connection", tuple},
                               {"lost", outcome == Outcome::Ended},
                               {"error", woken.error()}});
    const auto was_away = prepared.was_away;
    const std::string host = prepared.host;
    discard(id, to_string(woken.error()));
    redirect_again(tuple, was_away);
    outcomes_.correct(host, id, outcome);
    return fail(verdict_on(outcome).error().code, "{}", woken.error().reason);
  }
  // *One live endpoint again.* The exporter need not wait for our bookkeeping.
  stragglers_.expect(prepared.host, prepared.endpoint.tcp, delta.bytes.size(), prepared.cookie);
  // Before a straggler arrives, which is not an answer of the peer.
  if (prepared.socket && !services_.steering->in_other_namespace(tuple.local.ip)) {
    unheard_peers_.expect(prepared.cookie, tuple, prepared.socket->heard(),
                          prepared.socket->question());
  }
  auto settled = std::make_shared<Settled>(id, std::move(prepared), std::move(socket));
  prepared_.erase(id);
  services_.in_doubt.settled(wire::to_hex(id));
  if (!delta.more) {
    asio::post(services_.io, [this, settled] { settle(*settled); });
  } else {
    late_writes_.expect(id, std::get<1>(*settled).host, std::get<2>(*settled).get(),
                        [this, settled] { settle(*settled); });
  }
  return {};
}

// The connection continues where it was before, and home has already removed its
// redirect. Installs it again.
void Importer::redirect_again(const FourTuple& tuple,
                              const std::optional<RemoteConnection>& was_away) {
  if (!was_away) return;
  table_.mark_moved(tuple, *was_away);
  if (auto done = redirect(services_, table_, tuple, *was_away, std::nullopt); !done)
    log::error("redirect_restore_failed", {{"connection", tuple}, {"error", done.error()}});
}

void Importer::settle(Settled& settled) {
  auto& [id, prepared, socket] = settled;
  const FourTuple tuple = tuple_of(prepared.endpoint.tcp);
  // The connection may have ended already.
  const std::uint64_t cookie = tcp::cookie_of(socket.get()).value_or(0);
  // The end of a socket in another namespace is not reported to us, and nothing depends
  // on it: the connection is at home there.
  if (!services_.steering->in_other_namespace(tuple.local.ip)) {
    add_imported(
        table_, rules_, cookie,
        {tuple, prepared.endpoint.service, prepared.endpoint.home, prepared.endpoint.home_control,
         prepared.host, prepared.control_address, prepared.endpoint.generation});
  }
  ++services_.counters.imported;
  log::info("import_finished", {{"migration", wire::to_hex(id)},
                                {"service", prepared.endpoint.service},
                                {"connection", tuple},
                                {"host", prepared.host}});
  services_.history.add({.id = id,
                         .exported = false,
                         .service = prepared.endpoint.service,
                         .from = prepared.host,
                         .to = services_.settings.host,
                         .result = "committed",
                         .owner = prepared.endpoint.owner,
                         .tuple = tuple,
                         .started = std::chrono::system_clock::now(),
                         .bytes = prepared.endpoint.tls.size() + prepared.endpoint.payload.size()});
  // The queues are in the socket now.
  prepared.endpoint.tcp.receive_queue = {};
  prepared.endpoint.tcp.send_queue = {};
  import_queue_.add({.id = id,
                     .endpoint = std::move(prepared.endpoint),
                     .tuple = tuple,
                     .socket = std::move(socket),
                     .cookie = cookie,
                     .since = Clock::now()});
}

// If the connection has ended or moved on, its socket is gone, and the kernel would
// answer the segment by an RST with a sequence number that the peer accepts.
Result<> Importer::receive(const std::string& host, const wire::StragglerT& straggler) {
  TRY_LET(known, stragglers_.check(host, straggler));
  const FourTuple& tuple = known.tuple;
  return services_.steering->within(tuple.local.ip, [&]() -> Result<> {
    TRY_LET(socket, services_.find_socket(tuple));
    if (socket.cookie != known.cookie)
      return fail(ENOENT, "{} does not live here any more", to_string(tuple));
    // A FIN alone: UnheardPeers counts segments without data, so this one must not
    // count as the peer's answer.
    if (straggler.delta->bytes.empty()) unheard_peers_.injected(tuple);
    return tcp::inject_data({.tuple = tuple,
                             .seq = straggler.seq,
                             .ack = straggler.ack,
                             .window = straggler.window,
                             .fin = straggler.delta->fin,
                             .data = straggler.delta->bytes},
                            steer::kInjectMark, known.next);
  });
}

void Importer::abort(const wire::MigrationId& id, const std::string& host) {
  if (reserved_.check(id, host)) release(id);
  const auto it = prepared_.find(id);
  if (it != prepared_.end() && it->second.host == host) discard(id, "aborted by " + host);
  outcomes_.forget(host, id);
}

void Importer::discard(const wire::MigrationId& id, const std::string& why) {
  const auto it = prepared_.find(id);
  log::info("import_discarded", {{"migration", wire::to_hex(id)}, {"reason", why}});
  // The packets take their former way before the socket is closed.
  const wire::Endpoint& endpoint = it->second.endpoint;
  const FourTuple tuple = tuple_of(endpoint.tcp);
  rules_.untrack(tuple);
  if (!comes_home(endpoint)) {
    rules_.remove(tuple, endpoint.home_control);
  } else if (it->second.socket) {
    (void)services_.steering->at(tuple.local.ip).cancel_return(tuple);
  }
  prepared_.erase(it);
  import_queue_.release(id);
  services_.in_doubt.settled(wire::to_hex(id));
}

asio::awaitable<void> Importer::resolve_in_doubt(wire::MigrationId id) {
  co_await sleep_for(services_.settings.freeze_timeout);
  for (Backoff pauses(milliseconds(200), milliseconds(5000));;) {
    const auto it = prepared_.find(id);
    if (it == prepared_.end()) co_return;
    const std::string host = it->second.host;
    const SocketAddress control_address = it->second.control_address;
    auto reply = co_await services_.control->call(host, control_address,
                                                  wire::pack_query_outcome(id), milliseconds(2000));
    auto decided = wire::answer_of(reply);
    if (!prepared_.contains(id)) co_return;
    if (decided && *decided != -1) {
      log::warn("outcome_learned", {{"migration", wire::to_hex(id)}, {"committed", *decided == 1}});
      (void)decide(id, *decided == 1 ? Decide::Commit : Decide::Discard);
      co_return;
    }
    services_.in_doubt.add(wire::to_hex(id), {.kind = "import",
                                              .tuple = tuple_of(prepared_.at(id).endpoint.tcp),
                                              .host = host,
                                              .since = {},
                                              .decide = [this, id](Decide how) {
                                                return decide_by_operator(id, how);
                                              }});
    co_await sleep_for(pauses.next());
  }
}

// Without the send-queue bytes that only COMMIT brings, the connection would continue
// with other bytes in the place of some that the peer already has. So an operator cannot
// commit it.
Result<> Importer::decide_by_operator(const wire::MigrationId& id, Decide how) {
  const auto it = prepared_.find(id);
  if (how == Decide::Commit && it != prepared_.end() && it->second.endpoint.tcp.to_come > 0) {
    return fail(ENODATA, "{} bytes of the send queue are missing; only {} has them",
                it->second.endpoint.tcp.to_come, it->second.host);
  }
  return decide(id, how);
}

Result<> Importer::decide(const wire::MigrationId& id, Decide how) {
  const auto it = prepared_.find(id);
  if (it == prepared_.end()) return fail(ENOENT, "endpoint is not prepared here");
  if (how == Decide::Commit) return commit({{.id = id}}, std::string(it->second.host)).front();
  const std::string host = it->second.host;
  discard(id, "it does not go");
  outcomes_.correct(host, id, Outcome::NeverThawed);
  return {};
}

}  // namespace sockmi::daemon
