#include "broker/residents.h"

#include <algorithm>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/log.h"
#include "broker/event.h"
#include "broker/migration.h"
#include "broker/passive.h"

namespace sockmi::broker {
namespace {

asio::awaitable<void> tell_home(World& world, Resident resident) {
  if (is_passive(resident.tuple)) co_await adopt_accepted(world, resident.tuple.local, resident);
  for (milliseconds pause{20}; pause < milliseconds(60000); pause *= 2) {
    auto reply = co_await world.transfer->call(resident.home, resident.home_line, image::pack_ended(resident.tuple), milliseconds(1000));
    if (reply) co_return;
    co_await sleep_for(pause);
  }
  log::warn("event=home_unreachable home={} connection={}", resident.home, to_string(resident.tuple));
}

void end(World& world, std::uint64_t cookie) {
  const auto it = world.residents.find(cookie);
  if (it == world.residents.end()) return;
  Resident resident = std::move(it->second);
  world.residents.erase(it);
  log::debug("event=ended connection={}", to_string(resident.tuple));
  if (resident.home == world.settings.host) return;
  (void)world.steering->unshelter(is_passive(resident.tuple) ? resident.home_line.ip : resident.tuple.local.ip.unmapped(), world.settings.linger);
  asio::co_spawn(world.io, tell_home(world, std::move(resident)), asio::detached);
}

// After the kernel dropped notices of its own: whoever is not alive has ended.
void resynchronise(World& world, steer::SocketEnds& ends) {
  const auto alive = ends.alive();
  if (!alive) {
    log::error("event=sock_diag_failed error=\"{}\"", to_string(alive.error()));
    return;
  }
  std::vector<std::uint64_t> gone;
  for (const auto& [cookie, resident] : world.residents)
    if (!std::ranges::binary_search(*alive, cookie)) gone.push_back(cookie);
  for (const auto cookie : gone) end(world, cookie);
}

// The one whom nobody wanted: home first, and if that fails, the peer shall at least know.
asio::awaitable<void> return_home(World& world, Ready ready) {
  const auto id = ready.id;
  Resident resident;
  if (const auto it = world.residents.find(ready.cookie); it != world.residents.end()) resident = it->second;
  if (!resident.home.empty() && resident.home != world.settings.host) {
    image::Endpoint endpoint = std::move(ready.endpoint);
    const IpAddress home = resident.home_line.ip;
    auto returned = co_await export_endpoint(world, {ready.socket.dup(), std::move(endpoint)}, home);
    if (returned) {
      ++world.counters.returned_home;
      log::warn("event=returned_home connection={} reason=\"nobody imported it\"", to_string(ready.tuple));
      world.lists.release(id);
      co_return;
    }
  }
  ++world.counters.reset;
  log::error("event=reset connection={} reason=\"nobody imported it, and home would not have it\"", to_string(ready.tuple));
  const linger abort{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(ready.socket.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
  world.lists.release(id);
}

}  // namespace

asio::awaitable<void> watch_ends(World& world, std::unique_ptr<steer::SocketEnds> ends) {
  asio::posix::stream_descriptor descriptor(world.io, ::dup(ends->fd()));
  for (;;) {
    boost::system::error_code error;
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    const auto cookies = ends->ended();
    if (!cookies)
      resynchronise(world, *ends);
    else
      for (const auto cookie : *cookies) end(world, cookie);
  }
}

// Of a connection that was accepted there from a listener of ours, home hears for the first time.
std::map<FourTuple, Away>::iterator find_away(World& world, const std::string& from, const FourTuple& tuple) {
  const auto it = world.away.find(tuple);
  if (it != world.away.end()) return it;
  const auto listener = std::ranges::find_if(world.away, [&](const auto& each) {
    const SocketAddress& local = each.first.local;
    return is_passive(each.first) && each.second.host == from && local.port == tuple.local.port && (local.ip.wildcard() || local.ip.unmapped() == tuple.local.ip.unmapped());
  });
  if (listener == world.away.end()) return world.away.end();
  return world.away.emplace(tuple, Away{listener->second.service, from, {}}).first;
}

Result<> moved(World& world, const std::string& from, const FourTuple& tuple, const IpAddress& to, const std::string& host) {
  const auto it = find_away(world, from, tuple);
  if (it == world.away.end()) return fail(ENOENT, "{} is not away", to_string(tuple));
  if (it->second.host == host && it->second.address == to) return {};  // said twice
  if (it->second.host != from) return fail(EACCES, "{} does not hold {}", from, to_string(tuple));
  TRY(is_passive(tuple) ? redirect_passive(world, tuple.local, host) : world.steering->redirect(tuple, to, std::nullopt));
  it->second.host = host;
  it->second.address = to;
  return {};
}

Result<> ended(World& world, const std::string& from, const FourTuple& tuple) {
  const auto it = world.away.find(tuple);
  if (it == world.away.end()) return {};  // said twice
  if (it->second.host != from) return fail(EACCES, "{} does not hold {}", from, to_string(tuple));
  // The holder may be in TIME_WAIT: the rule outlives the connection a little.
  TRY(is_passive(tuple) ? remove_passive_redirect(world, tuple.local) : world.steering->redirect(tuple, it->second.address, world.settings.linger));
  world.away.erase(it);
  return {};
}

asio::awaitable<void> return_unclaimed(World& world) {
  const auto step = std::clamp(world.settings.wait / 4, milliseconds(50), milliseconds(1000));
  for (;;) {
    co_await sleep_for(step);
    world.steering->forget_idle(world.settings.freeze_timeout);
    for (auto& ready : world.lists.take_unclaimed(Clock::now() - world.settings.wait))
      asio::co_spawn(world.io, return_home(world, std::move(ready)), asio::detached);
  }
}

}  // namespace sockmi::broker
