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
namespace {

// Returns the indices of the images by group, in the order of the images. An image
// without a group is alone in one.
std::vector<std::vector<std::size_t>> groups_of(const std::vector<wire::IncomingImage>& images) {
  std::vector<std::vector<std::size_t>> groups;
  std::map<std::uint32_t, std::size_t> known;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const auto [it, added] = known.try_emplace(images[i].group, groups.size());
    if (added || images[i].group == 0)
      groups.push_back({i});
    else
      groups[it->second].push_back(i);
  }
  return groups;
}

// One application gets a whole group, so all of it must be for the same applications.
Result<> may_be_group(const std::vector<wire::IncomingImage>& images,
                      const std::vector<std::size_t>& group) {
  if (images[group.front()].group == 0) return {};
  if (group.size() > wire::kMostOfAGroup)
    return fail(EMSGSIZE, "invalid group of {} endpoints: at most {} are allowed", group.size(),
                wire::kMostOfAGroup);
  const auto& first = images[group.front()].endpoint;
  for (const std::size_t i : group) {
    const auto& endpoint = images[i].endpoint;
    if (!endpoint) return std::unexpected(endpoint.error());
    if (is_passive(endpoint->state))
      return fail(EINVAL, "invalid group: a bound or listening socket is in it");
    if (endpoint->service != first->service || endpoint->owner != first->owner)
      return fail(EINVAL, "invalid group: its endpoints are of several services or users");
  }
  return {};
}

}  // namespace

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
    return fail(ECONNREFUSED, "{} is cordoned", services_.settings.host);
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

std::vector<Result<>> Importer::prepare(const std::string& host,
                                        const SocketAddress& control_address,
                                        std::vector<wire::IncomingImage> images) {
  std::vector<Result<>> verdicts(images.size());
  for (const std::vector<std::size_t>& group : groups_of(images)) {
    auto done = may_be_group(images, group);
    std::vector<wire::MigrationId> made;
    for (const std::size_t i : group) {
      if (done) done = prepare_one(host, control_address, images[i]);
      if (done) made.push_back(images[i].id);
    }
    if (!done) {
      for (const auto& id : made)
        discard(id, to_string(done.error()));
    } else {
      const auto together = std::make_shared<Group>(made);
      for (const auto& id : made)
        prepared_.at(id).group = together;
      spawn(services_.io, "resolve_doubt", resolve_in_doubt(together));
    }
    for (const std::size_t i : group)
      verdicts[i] = done;
  }
  return verdicts;
}

Result<> Importer::prepare_one(const std::string& host, const SocketAddress& control_address,
                               wire::IncomingImage& image) {
  const wire::MigrationId& id = image.id;
  if (!image.endpoint) return std::unexpected(image.endpoint.error());
  wire::Endpoint& endpoint = *image.endpoint;
  if (outcomes_.of(host, id) != Outcome::Unknown || prepared_.contains(id))
    return fail(EALREADY, "endpoint was prepared before");
  TRY(reserved_.check(id, host));
  TRY(check_peer(tuple_of(endpoint.tcp)));
  TRY(table_.may_come(host, tuple_of(endpoint.tcp)));
  if (comes_home(endpoint)) TRY(may_return(services_, table_, host, tuple_of(endpoint.tcp)));
  TRY(reserved_.admit(id, host, endpoint));
  TRY(pre_copies_.put_before(endpoint.tcp, image.pre_copied, id, host));
  PreparedEndpoint prepared{{}, {}, std::move(endpoint), host, control_address, 0, {}, {}};
  const auto restored = restore(prepared);
  reserved_.erase(id);
  if (!restored) {
    import_queue_.release(id);
    return restored;
  }
  // A firewall of this host must know the connection before the thaw. The exporter
  // already has our answer while this runs. Another endpoint of the group may have failed
  // meanwhile, so that this one is discarded.
  asio::post(services_.io, [this, id, tuple = tuple_of(prepared.endpoint.tcp),
                            established = prepared.endpoint.tcp.state != tcp::kSynSent] {
    if (!prepared_.contains(id)) return;
    if (auto tracked = is_passive(tuple)
                           ? Result<>()
                           : services_.steering->at(tuple.local.ip).track(tuple, established);
        !tracked)
      log::warn("conntrack_add_failed", {{"connection", tuple}, {"error", tracked.error()}});
  });
  prepared_.emplace(id, std::move(prepared));
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
  if (it != prepared_.end() && it->second.host == host)
    discard(*it->second.group, "aborted by " + host);
  outcomes_.forget(host, id);
}

void Importer::discard(const Group& together, const std::string& why) {
  const std::vector<wire::MigrationId> ids = together.ids;  // the last one may own `together`
  for (const auto& id : ids)
    discard(id, why);
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

// All endpoints of a group were decided at one moment. If the exporter says of one of
// them that it does not move, an operator has decided so, and the others follow.
asio::awaitable<int> Importer::ask_outcome(std::shared_ptr<const Group> together) {
  const PreparedEndpoint& first = prepared_.at(together->ids.front());
  const std::string host = first.host;
  const SocketAddress control_address = first.control_address;
  for (const auto& id : together->ids) {
    auto reply = co_await services_.control->call(host, control_address,
                                                  wire::pack_query_outcome(id), milliseconds(2000));
    const auto decided = wire::answer_of(reply);
    if (!decided) co_return -1;
    if (*decided != 1) co_return *decided;
  }
  co_return 1;
}

asio::awaitable<void> Importer::resolve_in_doubt(std::shared_ptr<const Group> together) {
  const wire::MigrationId first = together->ids.front();
  co_await sleep_for(services_.settings.freeze_timeout);
  for (Backoff pauses(milliseconds(200), milliseconds(5000));;) {
    if (!prepared_.contains(first)) co_return;
    const int decided = co_await ask_outcome(together);
    if (!prepared_.contains(first)) co_return;
    if (decided != -1) {
      for (const auto& id : together->ids)
        log::warn("outcome_learned",
                  {{"migration", wire::to_hex(id)}, {"committed", decided == 1}});
      (void)decide(first, decided == 1 ? Decide::Commit : Decide::Discard);
      co_return;
    }
    for (const auto& id : together->ids)
      services_.in_doubt.add(wire::to_hex(id), {.kind = "import",
                                                .tuple = tuple_of(prepared_.at(id).endpoint.tcp),
                                                .host = prepared_.at(id).host,
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
  if (how == Decide::Commit && it != prepared_.end()) {
    for (const auto& each : it->second.group->ids) {
      if (const PreparedEndpoint& one = prepared_.at(each); one.endpoint.tcp.to_come > 0) {
        return fail(ENODATA, "{} bytes of the send queue are missing; only {} has them",
                    one.endpoint.tcp.to_come, one.host);
      }
    }
  }
  return decide(id, how);
}

// Decides for all endpoints of its group.
Result<> Importer::decide(const wire::MigrationId& id, Decide how) {
  const auto it = prepared_.find(id);
  if (it == prepared_.end()) return fail(ENOENT, "endpoint is not prepared here");
  const std::string host = it->second.host;
  const std::shared_ptr<const Group> together = it->second.group;
  if (how == Decide::Commit) {
    std::vector<wire::Committed> all;
    for (const auto& each : together->ids)
      all.push_back({.id = each});
    return commit(all, host).front();
  }
  discard(*together, "it does not go");
  outcomes_.correct(host, together->ids, Outcome::NeverThawed);
  return {};
}

}  // namespace sockmi::daemon
