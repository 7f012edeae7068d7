// The importer's answer to COMMIT: thaws what it has prepared.
//
// Invariant: the endpoints of a group thaw all, or none of them does. So a COMMIT that
// lacks some of them thaws nothing, the record of the thaw is one line of the journal,
// and what can fail is done for each of them before the first one thaws. If the kernel
// refuses the thaw itself after another endpoint of the group is live, all of them end:
// half a group would continue with a partner on no host.
#include <algorithm>
#include <set>

#include <sys/socket.h>
#include <boost/asio/post.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/imported.h"
#include "connections/redirects.h"
#include "migration/export_state.h"
#include "migration/importer.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"

namespace sockmi::daemon {

std::vector<Result<>> Importer::commit(const std::vector<wire::Committed>& endpoints,
                                       const std::string& host) {
  Deltas deltas;
  for (const wire::Committed& each : endpoints)
    deltas.emplace(each.id, &each.delta);
  const auto groups = committed(deltas, host);
  auto may_thaw = fault::point("before-thaw");
  if (may_thaw && !groups.empty()) may_thaw = log_thaw(groups, host);
  (void)fault::point("thaw-written");  // we may die
  if (may_thaw) attract(groups);
  std::map<wire::MigrationId, Result<>> verdicts;
  for (const auto& together : groups) {
    const auto done =
        may_thaw ? thaw(*together, deltas) : never_thawed(*together, may_thaw.error());
    for (const auto& id : together->ids)
      verdicts.emplace(id, done);
  }
  std::vector<Result<>> out;
  for (const wire::Committed& each : endpoints) {
    const auto known = verdicts.find(each.id);
    out.push_back(known == verdicts.end() ? verdict(each.id, host) : known->second);
  }
  (void)fault::point("thawed");
  if (prepared_.empty() && reserved_.empty()) services_.low_latency.end();
  return out;
}

// Returns the groups of which each endpoint is prepared by `host`, and committed.
std::vector<std::shared_ptr<Importer::Group>> Importer::committed(const Deltas& deltas,
                                                                  const std::string& host) {
  std::vector<std::shared_ptr<Group>> groups;
  std::set<const Group*> known;
  for (const auto& [id, delta] : deltas) {
    const auto prepared = find(id, host);
    if (!prepared || !known.insert((*prepared)->group.get()).second) continue;
    const std::shared_ptr<Group>& together = (*prepared)->group;
    if (std::ranges::all_of(together->ids, [&](const auto& each) { return deltas.contains(each); }))
      groups.push_back(together);
  }
  return groups;
}

Result<> Importer::log_thaw(const std::vector<std::shared_ptr<Group>>& groups,
                            const std::string& host) {
  std::vector<Thawing> thawing;
  for (std::uint32_t i = 0; i < groups.size(); ++i)
    for (const auto& id : groups[i]->ids) {
      const PreparedEndpoint& prepared = prepared_.at(id);
      thawing.push_back({id, prepared.cookie, i + 1, tuple_of(prepared.endpoint.tcp),
                         prepared.endpoint.generation});
    }
  return outcomes_.thaw(host, thawing);
}

// Their packets may have been redirected until now: by home, or by a host that had the
// connection before.
void Importer::attract(const std::vector<std::shared_ptr<Group>>& groups) {
  std::vector<FourTuple> here;
  for (const auto& together : groups)
    for (const auto& id : together->ids) {
      PreparedEndpoint& prepared = prepared_.at(id);
      const FourTuple tuple = tuple_of(prepared.endpoint.tcp);
      if (const RemoteConnection* away = table_.find_remote(tuple)) prepared.was_away = *away;
      // Before its redirect is removed: a delayed message of another host must not
      // install the redirect again.
      table_.mark_returned(tuple);
      if (!is_passive(tuple))
        here.push_back(tuple);
      else if (comes_home(prepared.endpoint))
        stop_redirecting(services_, table_, tuple);
    }
  if (auto removed = here.empty() ? Result<>() : services_.steering->remove_redirects(here);
      !removed)
    spawn(services_.io, "retry_removal", retry_removal(services_, table_, std::move(here)));
}

// The verdict on an endpoint that does not thaw now.
Result<> Importer::verdict(const wire::MigrationId& id, const std::string& host) {
  if (prepared_.contains(id)) {
    TRY(find(id, host));
    return fail(EAGAIN, "not all endpoints of its group are committed");
  }
  return verdict_on(outcomes_.give_up(host, id));
}

Result<> Importer::never_thawed(const Group& together, const Error& why) {
  const std::string host = prepared_.at(together.ids.front()).host;
  const std::vector<wire::MigrationId> ids = together.ids;
  discard(together, to_string(why));
  outcomes_.correct(host, ids, Outcome::NeverThawed);
  return fail(verdict_on(Outcome::NeverThawed).error().code, "{}", why.reason);
}

Result<> Importer::thaw(const Group& together, const Deltas& deltas) {
  const auto each =
      [&](const std::function<Result<>(PreparedEndpoint&, const wire::FreezeDeltaT&)>& step)
      -> Result<> {
    for (const auto& id : together.ids) {
      PreparedEndpoint& prepared = prepared_.at(id);
      if (!prepared.socket) continue;
      TRY(services_.steering->within(tuple_of(prepared.endpoint.tcp).local.ip,
                                     [&] { return step(prepared, *deltas.at(id)); }));
    }
    return {};
  };
  const auto ready =
      each([](PreparedEndpoint& prepared, const wire::FreezeDeltaT& delta) -> Result<> {
        TRY(prepared.socket->receive(from_image(delta)));
        return prepared.socket->may_thaw();
      });
  if (!ready) return thaw_failed(together, {}, Outcome::NeverThawed, ready.error());
  std::vector<unique_fd> live;
  auto woken = fault::point("wake");
  if (woken) {
    woken = each([&](PreparedEndpoint& prepared, const wire::FreezeDeltaT&) -> Result<> {
      TRY_LET(socket, std::move(*prepared.socket).thaw());
      live.push_back(std::move(socket));
      return {};
    });
  }
  if (!woken) {
    const bool frozen = std::ranges::all_of(together.ids, [this](const auto& id) {
      const auto& socket = prepared_.at(id).socket;
      return !socket || socket->is_frozen();  // none: it is passive
    });
    return thaw_failed(together, std::move(live), frozen ? Outcome::NeverThawed : Outcome::Ended,
                       woken.error());
  }
  // *One live endpoint again.* The exporter need not wait for our bookkeeping.
  const std::vector<wire::MigrationId> ids = together.ids;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    PreparedEndpoint& prepared = prepared_.at(ids[i]);
    thawed(ids[i], prepared.socket ? std::move(live[i]) : std::move(prepared.passive),
           *deltas.at(ids[i]));
  }
  return {};
}

// `live`: the sockets of the group that have thawed.
Result<> Importer::thaw_failed(const Group& together, std::vector<unique_fd> live, Outcome outcome,
                               const Error& why) {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  for (unique_fd& socket : live) {
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    socket.reset();
  }
  const std::vector<wire::MigrationId> ids = together.ids;  // the last one may own `together`
  std::vector<Journal::Away> away;
  for (const auto& id : ids)
    if (const PreparedEndpoint& one = prepared_.at(id); one.was_away)
      away.emplace_back(tuple_of(one.endpoint.tcp), *one.was_away);
  // Before the sockets are closed: a daemon that dies here leaves none of them, and the
  // next one restores home's redirects.
  outcomes_.correct(prepared_.at(ids.front()).host, ids, outcome, away);
  (void)fault::point("thaw-corrected");  // it may die here
  for (const auto& id : ids) {
    const PreparedEndpoint& prepared = prepared_.at(id);
    const FourTuple tuple = tuple_of(prepared.endpoint.tcp);
    log::error("thaw_failed", {{"migration", wire::to_hex(id)},
                               {"connection", tuple},
                               {"lost", outcome == Outcome::Ended},
                               {"error", why}});
    const auto was_away = prepared.was_away;
    discard(id, to_string(why));
    redirect_again(tuple, was_away);
  }
  return fail(verdict_on(outcome).error().code, "{}", why.reason);
}

void Importer::thawed(const wire::MigrationId& id, unique_fd socket,
                      const wire::FreezeDeltaT& delta) {
  PreparedEndpoint& prepared = prepared_.at(id);
  const FourTuple tuple = tuple_of(prepared.endpoint.tcp);
  stragglers_.expect(prepared.host, prepared.endpoint.tcp, delta.bytes.size(), prepared.cookie);
  // Before a straggler arrives, which is not an answer of the peer.
  if (prepared.socket && !services_.steering->in_other_namespace(tuple.local.ip))
    unheard_peers_.expect(prepared.cookie, tuple, prepared.socket->heard(),
                          prepared.socket->question());
  auto settled = std::make_shared<Settled>(id, std::move(prepared), std::move(socket));
  prepared_.erase(id);
  services_.in_doubt.settled(wire::to_hex(id));
  if (!delta.more)
    asio::post(services_.io, [this, settled] { settle(*settled); });
  else
    late_writes_.expect(id, std::get<1>(*settled).host, std::get<2>(*settled).get(),
                        [this, settled] { settle(*settled); });
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
  if (!services_.steering->in_other_namespace(tuple.local.ip))
    add_imported(
        table_, rules_, cookie,
        {tuple, prepared.endpoint.service, prepared.endpoint.home, prepared.endpoint.home_control,
         prepared.host, prepared.control_address, prepared.endpoint.generation});
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
  Group& together = *prepared.group;
  together.ready.emplace(id, ReadyEndpoint{.id = id,
                                           .endpoint = std::move(prepared.endpoint),
                                           .tuple = tuple,
                                           .socket = std::move(socket),
                                           .cookie = cookie,
                                           .since = Clock::now()});
  if (together.ready.size() < together.ids.size()) return;
  std::vector<ReadyEndpoint> all;
  for (const auto& each : together.ids)
    all.push_back(std::move(together.ready.at(each)));
  together.ready.clear();
  import_queue_.add(std::move(all));
}

}  // namespace sockmi::daemon
