// An importer that has prepared is in doubt until it hears COMMIT or ABORT: only the exporter's journal knows. It keeps the endpoint frozen
// and asks until it gets an answer; guessing would mean two live endpoints, or none.
#include "broker/arrival.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "broker/event.h"
#include "broker/residents.h"
#include "tcp/inspect.h"

namespace sockmi::broker {

Result<peer::Willing> Arrivals::willing(const peer::Offer& offer) {
  TRY(fault::point("reserve-refused"));
  if (!world_.policy.knows(offer.service)) return fail(ECONNREFUSED, "service '{}' is not served here", offer.service);
  // Its packets would come back to their own sender, whose kernel takes them for forged.
  if (offer.tuple.remote.ip.unmapped() == world_.settings.address) return fail(ENOTSUP, "the peer of this connection is {} itself", world_.settings.host);
  if (world_.lists.free_places(offer.state) == 0) return fail(ENOBUFS, "import list full");
  const auto waiting = world_.lists.watching(offer.service);
  if (waiting == 0 && world_.settings.require_importer)
    return fail(ESRCH, "no application on {} imports service '{}'", world_.settings.host, offer.service);
  double load[1] = {0};
  (void)::getloadavg(load, 1);
  return peer::Willing{.waiting_importers = static_cast<std::uint32_t>(waiting),
                       .free_places = static_cast<std::uint32_t>(world_.lists.free_places(offer.state)),
                       .load_percent = static_cast<std::uint32_t>(load[0] * 100)};
}

Result<> Arrivals::reserve(const peer::Offer& offer) {
  auto acceptable = willing(offer);
  if (!acceptable) return pass(std::move(acceptable));
  TRY(world_.lists.reserve(offer.id, offer.state));
  if (!reserved_.emplace(offer.id, true).second) return {};  // confirmed twice
  asio::co_spawn(world_.io, expire_reservation(offer.id), asio::detached);
  return {};
}

asio::awaitable<void> Arrivals::expire_reservation(image::MigrationId id) {
  co_await sleep_for(world_.settings.freeze_timeout);
  if (reserved_.erase(id)) world_.lists.release(id);
}

Result<> Arrivals::prepare(const image::MigrationId& id, const std::string& host, const SocketAddress& line, image::Endpoint endpoint) {
  TRY(fault::point("restore"));
  if (committed_.contains(id)) return fail(EALREADY, "this endpoint was committed before");
  if (!reserved_.contains(id) && !prepared_.contains(id)) return fail(ENOBUFS, "no place was reserved for this endpoint");
  if (prepared_.contains(id) && prepared_.at(id).host != host) return fail(EACCES, "not your endpoint");
  // A second image of one endpoint takes the first one's place: its socket has to go before, both have the same addresses.
  const bool again = prepared_.erase(id) > 0;
  const bool home = comes_home(endpoint);
  const FourTuple tuple = tuple_of(endpoint.tcp);
  TRY(may_come(world_, tuple));
  if (!home && !again) TRY(world_.steering->shelter(tuple.local.ip.unmapped()));
  auto socket = tcp::Restored::restore(endpoint.tcp, steer::kFreezeMark, !home);
  auto restored = socket ? fault::point("prepared-reply") : Result<>(std::unexpected(socket.error()));
  if (!restored) {
    if (!home) (void)world_.steering->unshelter(tuple.local.ip.unmapped(), world_.settings.linger);
    world_.lists.release(id);
    reserved_.erase(id);
    return restored;
  }
  reserved_.erase(id);
  prepared_.emplace(id, Prepared{std::move(*socket), std::move(endpoint), host, line, ++attempts_});
  asio::co_spawn(world_.io, resolve_doubt(id, attempts_), asio::detached);
  return {};
}

Result<> Arrivals::commit(const image::MigrationId& id, const std::string& host) {
  if (committed_.contains(id)) return {};
  const auto it = prepared_.find(id);
  if (it == prepared_.end()) return fail(ENOENT, "no such endpoint is prepared here");
  if (it->second.host != host) return fail(EACCES, "not your endpoint");
  Prepared prepared = std::move(it->second);
  prepared_.erase(it);
  committed_.insert(id);
  committed_order_.push_back(id);
  if (committed_order_.size() > 65536) {
    committed_.erase(committed_order_.front());
    committed_order_.pop_front();
  }
  const FourTuple tuple = tuple_of(prepared.endpoint.tcp);
  TRY(came_back(world_, tuple));
  TRY_LET(socket, std::move(prepared.socket).thaw());
  // *One live endpoint again.*
  TRY_LET(facts, tcp::inspect(socket.get()));
  lives_here(world_, facts.cookie, {tuple, prepared.endpoint.service, prepared.endpoint.home, prepared.endpoint.home_line, host, prepared.line});
  ++world_.counters.imported;
  log::info("event=import migration={} service={} connection={} from={}", image::to_hex(id), prepared.endpoint.service, to_string(tuple),
            host);
  world_.remember({.id = id, .exported = false, .service = prepared.endpoint.service, .from = host, .to = world_.settings.host,
                   .result = "committed", .tuple = tuple, .started = std::chrono::system_clock::now(),
                   .bytes = prepared.endpoint.tls.size() + prepared.endpoint.payload.size()});
  // The queues are in the socket now.
  prepared.endpoint.tcp.receive_queue = {};
  prepared.endpoint.tcp.send_queue = {};
  world_.lists.add({.id = id, .endpoint = std::move(prepared.endpoint), .tuple = tuple, .socket = std::move(socket),
                    .cookie = facts.cookie, .since = Clock::now()});
  return {};
}

void Arrivals::abort(const image::MigrationId& id, const std::string& host) {
  if (reserved_.erase(id)) world_.lists.release(id);
  const auto it = prepared_.find(id);
  if (it != prepared_.end() && it->second.host == host) discard(id, "aborted by " + host);
}

void Arrivals::discard(const image::MigrationId& id, const std::string& why) {
  const auto it = prepared_.find(id);
  log::info("event=discard migration={} reason=\"{}\"", image::to_hex(id), why);
  const IpAddress home = tuple_of(it->second.endpoint.tcp).local.ip.unmapped();
  if (!comes_home(it->second.endpoint)) (void)world_.steering->unshelter(home, world_.settings.linger);
  prepared_.erase(it);
  world_.lists.release(id);
}

asio::awaitable<void> Arrivals::resolve_doubt(image::MigrationId id, std::uint64_t attempt) {
  co_await sleep_for(world_.settings.freeze_timeout);
  for (milliseconds pause{200};; pause = std::min(2 * pause, milliseconds(5000))) {
    const auto it = prepared_.find(id);
    if (it == prepared_.end() || it->second.attempt != attempt) co_return;
    const std::string host = it->second.host;
    const SocketAddress line = it->second.line;
    auto reply = co_await world_.transfer->call(host, line, image::pack_inquire(id), milliseconds(2000));
    auto decided = reply ? image::read_answer(*reply) : Result<int>(std::unexpected(reply.error()));
    if (decided && *decided != -1 && prepared_.contains(id)) {
      log::warn("event=doubt_resolved migration={} committed={}", image::to_hex(id), *decided);
      if (*decided == 1) {
        if (auto done = commit(id, host); !done) log::error("event=commit_failed error=\"{}\"", to_string(done.error()));
      } else {
        discard(id, "exporter's journal has no record");
      }
      co_return;
    }
    co_await sleep_for(pause);
  }
}

}  // namespace sockmi::broker
