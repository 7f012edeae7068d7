#include "broker/adoption.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "base/log.h"
#include "broker/guests.h"
#include "broker/homes.h"
#include "broker/passive.h"

namespace sockmi::broker {
namespace {

constexpr milliseconds kClaim{15000};  // in this time a holder is heard, and says what it holds: it greets three times

using Sockets = std::map<std::uint64_t, steer::TcpSocket>;

// Those that ended while no daemon was there are told to their homes now.
Result<> adopt_residents(World& world, const Sockets& alive) {
  for (const auto& [number, resident] : world.journal.untold()) asio::co_spawn(world.io, tell_ended(world, number, resident), asio::detached);
  for (const auto& [cookie, resident] : world.journal.residents()) {
    TRY(admit(world, resident.tuple, resident.home_line));
    const auto socket = alive.find(cookie);
    if (socket != alive.end() && socket->second.tuple.unmapped() == resident.tuple.unmapped()) {
      world.residents[cookie] = resident;
      continue;
    }
    dismiss(world, resident.tuple, resident.home_line, world.settings.linger);
    asio::co_spawn(world.io, tell_ended(world, world.journal.has_ended(resident, cookie), resident), asio::detached);
  }
  TRY_LET(shelters, world.steering->shelters());
  for (const IpAddress& home : shelters) {  // one that nobody needs is left to the last packets
    TRY(world.steering->shelter(home));
    TRY(world.steering->unshelter(home, world.settings.linger));
  }
  return {};
}

Result<> adopt_redirects(World& world, const Sockets& alive) {
  std::set<FourTuple> living;
  for (const auto& [cookie, socket] : alive) living.insert(socket.tuple.unmapped());
  TRY_LET(found, world.steering->redirects());
  std::map<FourTuple, steer::Redirect> in_kernel;
  for (const auto& redirect : found) in_kernel[redirect.tuple] = redirect;

  world.away = world.journal.away();
  std::set<SocketAddress> ports;
  for (const auto& [tuple, away] : world.away) {
    in_kernel.erase(tuple.unmapped());
    if (is_passive(tuple)) ports.insert({tuple.local.ip.unmapped(), tuple.local.port});  // led when the other host is heard: see compare_notes()
    else TRY(world.steering->redirect(tuple, away.address, std::nullopt));  // it may lack, expire, or be for another interface
    if (away.home != world.settings.host) asio::co_spawn(world.io, tell_moved(world, tuple), asio::detached);
  }
  // Nothing explains these. One whose connection lives here was never decided. One with a timeout lingers. Of any other we have lost the memory:
  // should it be held somewhere, we hear of it.
  for (const auto& [tuple, redirect] : in_kernel) {
    auto done = living.contains(tuple)  ? world.steering->remove_redirect(tuple)
                : !redirect.expires_in ? world.steering->redirect(tuple, redirect.to, kClaim)
                                       : Result<>();
    if (!done) return done;
    log::warn("event=redirect_unexplained connection={} to={} lives_here={}", to_string(tuple), to_string(redirect.to), living.contains(tuple));
  }
  TRY_LET(redirected, world.steering->redirected_ports());
  for (const SocketAddress& local : redirected) {
    const auto explains = [&](const SocketAddress& port) { return port.port == local.port && (port.ip.wildcard() || port.ip == local.ip); };
    if (std::ranges::any_of(ports, explains)) continue;
    log::warn("event=port_redirect_unexplained local={}", to_string(local));
    TRY(world.steering->remove_port_redirect(local));
  }
  return {};
}

}  // namespace

Result<> adopt(World& world) {
  TRY_LET(alive, steer::all_sockets());
  TRY(adopt_residents(world, alive));
  TRY(adopt_redirects(world, alive));
  if (!world.away.empty() || !world.residents.empty())
    log::info("event=adopted imported={} away={}", world.residents.size(), world.away.size());
  return {};
}

}  // namespace sockmi::broker
